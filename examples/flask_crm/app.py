"""A small CRM in Flask that sends through Truetick's HTTP API, and shows what really became of each message."""

import os
import threading

import requests
from customers import REFUSED, UNKNOWN, Customers
from flask import Flask, redirect, render_template, request, url_for
from standardwebhooks import Webhook, WebhookVerificationError

TRUETICK = os.environ.get("TRUETICK_URL", "http://127.0.0.1:5000")
KEY = {"Authorization": f"Bearer {os.environ['TRUETICK_API_KEY']}"}
CALLBACKS = Webhook(os.environ["TRUETICK_CALLBACK_SECRET"])
FOLLOW_EVERY_S = float(os.environ.get("CRM_FOLLOW_EVERY_S", "60"))

app = Flask(__name__)
customers = Customers(os.environ.get("CRM_DATABASE", "crm.db"))


@app.get("/")
def show() -> str:
    return render_template("customers.html", customers=customers.all())


@app.post("/customers/<int:customer_id>/greet")
def greet(customer_id: int):
    customer = customers.begin_message(customer_id)
    if customer is None:
        return "There is no such customer.", 404
    message = {
        "message_id": customer["message_id"],  # the same request twice cannot become two messages
        "to": customer["phone"],
        "text": "Hello {{name}}, your order is ready.",
        "values": {"name": customer["name"]},
        "crm_ref": f"customer-{customer_id}",
    }
    try:
        answer = requests.post(f"{TRUETICK}/api/messages", json=message, headers=KEY, timeout=10)
        problem = "" if answer.ok else answer.json()["detail"]
    except (requests.RequestException, ValueError):
        answer, problem = None, "Truetick does not answer. Please try again."
    if problem:
        is_refused = answer is not None and answer.status_code < 500
        customers.note_trouble(customer["message_id"], REFUSED if is_refused else UNKNOWN, problem)
    return redirect(url_for("show"))


@app.post("/truetick/callbacks")
def hear():
    """Truetick tells of each status change, at least once and in order. Only a signed callback is believed."""
    try:
        told = CALLBACKS.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return "The signature is wrong.", 400
    if told["type"] == "message.status":
        customers.learn(told["data"])
    return "", 204


def follow() -> None:
    """Read the change feed from where it was left: whatever callbacks did not tell is learnt all the same."""
    while True:
        place = customers.feed_place()
        answer = requests.get(f"{TRUETICK}/api/messages/changes", params={"after": place}, headers=KEY, timeout=10)
        answer.raise_for_status()
        found = answer.json()
        for message in found["messages"]:
            customers.learn(message)
        customers.move_feed_place(found["next"])
        if not found["messages"]:
            return


def keep_following(pause: threading.Event) -> None:
    while not pause.wait(FOLLOW_EVERY_S):
        try:
            follow()
        except requests.RequestException as problem:
            app.logger.warning("The change feed cannot be read now (%s); it is tried again.", type(problem).__name__)


if __name__ == "__main__":
    if FOLLOW_EVERY_S:
        threading.Thread(target=keep_following, args=[threading.Event()], daemon=True).start()
    app.run(port=int(os.environ.get("CRM_PORT", "8000")))
