"""POST /send-message: every type, validation, and the shapes of acceptance and refusal."""

import socket
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from requests import post
from requests.exceptions import ReadTimeout

from wasender_sandbox.control import Sandbox

TO = "+919876543210"

BODIES: dict[str, dict[str, Any]] = {
    "text": {"text": "Hello"},
    "image": {"imageUrl": "https://example.com/a.png", "text": "caption", "viewOnce": True},
    "video": {"videoUrl": "https://example.com/a.mp4"},
    "document": {"documentUrl": "https://example.com/a.pdf", "fileName": "bill.pdf"},
    "audio": {"audioUrl": "https://example.com/a.ogg"},
    "sticker": {"stickerUrl": "https://example.com/a.webp"},
    "contact": {"contact": {"name": "Asha", "phone": "+919876500000"}},
    "location": {"location": {"latitude": 12.97, "longitude": 77.59, "name": "Bengaluru"}},
    "poll": {"poll": {"question": "Tea?", "options": ["yes", "no"], "multiSelect": False}},
}


@pytest.mark.parametrize("kind", BODIES)
def test_every_message_type_is_accepted_and_recorded(sandbox: Sandbox, caller: Any, kind: str) -> None:
    answer = caller.post("/send-message", {"to": TO, **BODIES[kind]})

    assert answer.status_code == 200
    data = answer.json()["data"]
    assert answer.json()["success"] is True
    assert data["jid"] == TO, "jid echoes `to`, it is not a real JID"
    assert data["status"] == "in_progress"
    [entry] = sandbox.ledger()
    assert (entry.kind, entry.msg_id, entry.payload) == (kind, data["msgId"], {"to": TO, **BODIES[kind]})


def test_message_ids_grow_and_do_not_fit_small_integers(caller: Any) -> None:
    first, second = caller.accept("one"), caller.accept("two")

    assert second > first > 2**24


@pytest.mark.parametrize(
    ("to", "recipient"),
    [
        ("+919876543210", "+919876543210"),
        ("919876543210", "+919876543210"),
        ("919876543210@s.whatsapp.net", "+919876543210"),
        ("120363000000000000@g.us", "120363000000000000@g.us"),
        ("120363000000000000@newsletter", "120363000000000000@newsletter"),
    ],
)
def test_spellings_of_a_recipient_mean_the_same_person(
    sandbox: Sandbox, caller: Any, to: str, recipient: str
) -> None:
    caller.accept(to=to)

    [entry] = sandbox.ledger()
    assert (entry.to, entry.recipient) == (to, recipient)


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"text": "Hello"}, "to", "The to field is required."),
        ({"to": TO}, "text", "The text field is required when no media is present."),
        ({"to": TO, "text": "x" * 4097}, "text", "4096 characters"),
        ({"to": TO, "text": 5}, "text", "must be a string"),
        ({"to": TO, "imageUrl": "a.png"}, "imageUrl", "must be a valid URL"),
        ({"to": TO, "contact": {"name": "Asha"}}, "contact.phone", "required"),
        ({"to": TO, "location": {"latitude": "12", "longitude": 7}}, "location.latitude", "number"),
        ({"to": TO, "location": {"latitude": 95, "longitude": 7}}, "location.latitude", "between"),
        ({"to": TO, "poll": {"question": "Tea?", "options": ["yes"]}}, "poll.options", "between 2 and 12"),
        ({"to": TO, "text": "a", "replyTo": "7"}, "replyTo", "integer"),
        ({"to": TO, "text": "a", "viewOnce": "yes"}, "viewOnce", "true or false"),
        ({"to": TO, "text": "a", "mentions": [7]}, "mentions", "array of strings"),
    ],
)
def test_invalid_bodies_are_refused_with_the_field_named(
    sandbox: Sandbox, caller: Any, fields: dict[str, Any], field: str, sentence: str
) -> None:
    answer = caller.post("/send-message", fields)

    assert answer.status_code == 422
    assert answer.json()["success"] is False
    assert answer.json()["message"] == "Validation failed"
    assert sentence in answer.json()["errors"][field][0]
    assert sandbox.ledger() == []
    assert sandbox.requests()[0].reason == "validation"


@pytest.mark.parametrize("to", ["+91 98765 43210", "98765-43210", "Asha", "@asha_99", "12"])
def test_a_malformed_recipient_is_not_a_jid(caller: Any, to: str) -> None:
    answer = caller.send(to=to)

    assert answer.status_code == 422
    assert "must be a valid WhatsApp JID" in answer.json()["message"]


def test_a_body_that_is_no_json_object_lacks_everything(caller: Any) -> None:
    answer = caller.call("POST", "/send-message", data=b"\xff{", headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert set(answer.json()["errors"]) == {"to", "text"}


def test_a_number_that_is_not_on_whatsapp_is_refused_with_422(sandbox: Sandbox, caller: Any) -> None:
    sandbox.recipients(not_on_whatsapp=["+91 80 2222 2222"], not_on_whatsapp_suffixes=["0404"])

    for to in ("0000000000", "+918022222222", "+919876540404"):
        answer = caller.send(to=to)
        assert answer.status_code == 422
        assert answer.json() == {
            "success": False,
            "message": "JID does not exist on WhatsApp",
            "errors": {"to": ["The provided JID does not exist on WhatsApp."]},
        }
    sandbox.recipients(exists=["+918022222222"])
    caller.accept(to="+918022222222")


def test_a_session_that_is_down_refuses_under_http_200(sandbox: Sandbox, caller: Any) -> None:
    sandbox.set_status("sales", "logged_out")

    answer = caller.send()

    assert answer.status_code == 200
    assert answer.json() == {
        "success": False,
        "message": "Your Whatsapp Session is not connected please connect your session first.",
    }
    assert sandbox.ledger() == []
    assert sandbox.requests()[0].reason == "not_connected"


@pytest.mark.parametrize("status", [400, 409, 422])
def test_the_not_connected_refusal_can_have_another_status(sandbox: Sandbox, caller: Any, status: int) -> None:
    sandbox.switch("down_http_status", status)
    sandbox.set_status("sales", "down")

    assert caller.send().status_code == status


def test_a_channel_cannot_write_to_itself(caller: Any) -> None:
    answer = caller.send(to="+15550001111")

    assert (answer.status_code, answer.json()["success"]) == (200, False)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "API key is required"),
        ({"apikey": "sales-key"}, "API key is required"),
        ({"X-API-Key": "sales-key"}, "API key is required"),
        ({"Authorization": "Bearer wrong"}, "invalid API key"),
        ({"Authorization": "Bearer 1|sandbox-personal-access-token"}, "invalid API key"),
    ],
)
def test_only_a_session_key_as_bearer_opens_sending(sandbox: Sandbox, headers: dict[str, str], message: str) -> None:
    answer = post(f"{sandbox.api_url}/send-message", json={"to": TO, "text": "a"}, headers=headers, timeout=5)

    assert (answer.status_code, answer.json()["message"]) == (401, message)
    assert sandbox.requests()[0].reason == "auth"


def test_without_a_subscription_nothing_is_sent(sandbox: Sandbox, caller: Any) -> None:
    sandbox.switch("subscription_active", False)

    answer = caller.send()

    assert answer.status_code == 403
    assert "Active subscription or trial is required" in answer.json()["message"]


def test_checks_come_in_order_validation_then_session_then_recipient(sandbox: Sandbox, caller: Any) -> None:
    sandbox.set_status("sales", "down")

    assert caller.send(to="not a number").status_code == 422
    assert "not connected" in caller.send(to="0000000000").json()["message"], "session before recipient"
    sandbox.scan("sales")
    assert caller.send(to="0000000000").status_code == 422


def test_a_repeated_message_goes_out_twice_unless_deduplication_is_switched_on(sandbox: Sandbox, caller: Any) -> None:
    assert caller.accept("same") != caller.accept("same")

    sandbox.switch("deduplicate", True)
    assert caller.accept("other") == caller.accept("other")
    assert len(sandbox.ledger(text="other")) == 1


def test_spurious_refusals_happen_while_connected(sandbox: Sandbox, caller: Any) -> None:
    sandbox.switch("spurious_not_connected", 0.5)

    answers = [caller.send(f"n{n}").json()["success"] for n in range(30)]

    assert {True, False} == set(answers)
    refused = sandbox.requests(reason="not_connected_spurious")
    assert len(refused) == answers.count(False)
    assert caller.get("/status").json() == {"status": "connected"}


def test_latency_before_acceptance_outlives_a_client_that_gave_up(
    sandbox: Sandbox, caller: Any, eventually: Any
) -> None:
    sandbox.latency(before=0.3)

    with pytest.raises(ReadTimeout):
        caller.call("POST", "/send-message", {"to": TO, "text": "late"}, timeout=0.1)

    assert sandbox.ledger() == []
    [entry] = eventually(lambda: sandbox.ledger(text="late"))
    assert entry.received_at - entry.request_at >= 0.3


def test_latency_after_acceptance_holds_back_the_answer_only(sandbox: Sandbox, caller: Any) -> None:
    sandbox.latency(after="0.1-0.2", channel="sales")

    answer = caller.send()

    [request], [entry] = sandbox.requests(), sandbox.ledger()
    assert answer.elapsed.total_seconds() >= 0.1
    assert request.answered_at is not None
    assert request.answered_at - request.arrived_at >= 0.1
    assert entry.received_at - entry.request_at < 0.1


def test_a_client_that_leaves_in_the_middle_of_its_body_has_sent_nothing(sandbox: Sandbox, eventually: Any) -> None:
    address = urlsplit(sandbox.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as half:
        head = "POST /api/send-message HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sales-key\r\n"
        half.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{".encode())
        eventually(lambda: [r.decision for r in sandbox.requests()] == ["pending"])

    eventually(lambda: [r.reason for r in sandbox.requests()] == ["client_left"])
    assert sandbox.ledger() == []


def test_the_gateways_clock_can_be_wrong(sandbox: Sandbox, caller: Any, account: Any) -> None:
    sandbox.switch("clock_skew_s", -7200)
    caller.accept()

    [row] = account.get("/whatsapp-sessions/501/message-logs").json()["data"]["data"]
    told = datetime.strptime(row["created_at"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    assert abs(told - (time.time() - 7200)) < 10
    assert abs(sandbox.ledger()[0].received_at - time.time()) < 10, "the ledger keeps the real time"
