"""`/api/messages`: a CRM hands over messages, asks what became of them, and follows their changes."""

from collections.abc import Iterable

from apiflask import APIBlueprint
from flask import Response, jsonify, request, url_for

from crm_bridge.web import answers, bulk, composed_answers, examples, idempotency, json_body, message_work, openapi
from crm_bridge.web.bounded import Bounded, TookTooLong
from crm_bridge.web.following import FollowQuery, changes
from crm_bridge.web.listing import ListQuery, list_messages
from crm_bridge.web.message_id import as_uuid
from crm_bridge.web.problems import Problem
from crm_bridge.web.query import read_query
from crm_bridge.web.waking import Waker
from worker import intake
from worker.domain.access import Scope
from worker.domain.message_request import SendRequest, parse_request
from worker.outbox import people
from worker.outbox.enqueue import Enqueued
from worker.parts import Parts


def routes(parts: Parts, database: Bounded, waker: Waker) -> APIBlueprint:
    blueprint = APIBlueprint("messages", __name__, url_prefix="/api/messages")
    _sending(blueprint, parts, database, waker)
    _looking(blueprint, parts, database)
    _deciding(blueprint, parts, database, waker)
    return blueprint


def _sending(blueprint: APIBlueprint, parts: Parts, database: Bounded, waker: Waker) -> None:
    @blueprint.post("")
    @openapi.describe(
        scope=Scope.SEND,
        takes=SendRequest,
        headers=idempotency.DESCRIBED,
        example=examples.REQUEST,
        gives={202: answers.Message, 200: answers.Message},
        answers=examples.MESSAGE,
        refuses=(409,),
    )
    def send_message() -> tuple[Response, int, dict[str, str]]:
        """Send a message.

        Answers 202 once the message is stored, 200 when it was stored before (same id or idempotency key and same
        content). It is called sent only when WhatsApp has ticked it.
        """
        key = idempotency.shown_key()
        asked = parse_request(idempotency.with_key(json_body.read_object(), key))
        stored = database.run(lambda: message_work.store(parts, asked))
        if stored.needs_wake:
            waker.wake()
        place = url_for("messages.get_message", message_id=stored.message["id"])
        return jsonify(stored.message), 202 if stored.created else 200, {"Location": place}

    @blueprint.post("/bulk")
    @openapi.describe(
        scope=Scope.SEND,
        takes=composed_answers.BulkRequest,
        headers=idempotency.DESCRIBED,
        example={"messages": [examples.REQUEST]},
        gives={200: composed_answers.BulkAnswer},
        answers={"messages": [examples.MESSAGE, examples.REFUSED_ITEM]},
    )
    def send_messages() -> Response:
        """Send up to 10,000 messages (16 MB).

        Answers one result an item, in order: the message as it is stored, or its `error` with its `index`; the status
        is 200 even if all are refused. With the header Idempotency-Key, items that have no `idempotency_key` of their
        own get KEY/INDEX. A database that goes away in between leaves the rest with the error `database_away`.
        """
        request.max_content_length = bulk.LARGEST_BODY_BYTES
        key = idempotency.shown_key()
        if key is not None and len(key) > bulk.LONGEST_KEY:
            raise Problem(
                422, "bad_idempotency_key", f"For many messages the key has at most {bulk.LONGEST_KEY} characters."
            )
        items = bulk.read_items(json_body.read_unchecked())
        stored = bulk.store_all(parts, database, items, key=key)
        if _needs_wake(parts, database, stored.created.values()):
            waker.wake()
        return jsonify({"messages": stored.answers})


def _needs_wake(parts: Parts, database: Bounded, created: Iterable[Enqueued]) -> bool:
    """What is stored is answered for, whatever becomes of this question: a wake-up too many harms nobody."""
    try:
        return database.run(lambda: any(intake.needs_wake(parts, one) for one in created))
    except TookTooLong:
        return True


def _looking(blueprint: APIBlueprint, parts: Parts, database: Bounded) -> None:
    @blueprint.get("")
    @openapi.describe(query=ListQuery, gives={200: composed_answers.MessageList}, answers=examples.LIST)
    def get_messages() -> Response:
        """List messages, the newest first, page by page: `next` is the cursor of the next page, null at the end."""
        query = read_query(ListQuery)
        return jsonify(database.run(lambda: list_messages(parts, query)))

    @blueprint.get("/changes")
    @openapi.describe(query=FollowQuery, gives={200: composed_answers.MessageChanges}, answers=examples.CHANGES)
    def get_changes() -> Response:
        """Follow the changes of status: one entry a change, in an order without gaps that never changes.

        Ask again with `after` set to the `next` of the answer before. A message stands as it is now; `change` says
        what it became then, when, and at which place of the feed.
        """
        query = read_query(FollowQuery)
        return jsonify(database.run(lambda: changes(parts, query)))

    @blueprint.get("/<message:message_id>")
    @openapi.describe(gives={200: answers.MessageWithHistory}, refuses=(404, 422))
    def get_message(message_id: str) -> Response:
        """Look a message up, with its newest attempts and events (200 of each at the most), in order."""
        asked_for = as_uuid(message_id)
        return jsonify(database.run(lambda: message_work.read(parts, asked_for)))

    @blueprint.get("/<message:message_id>/why")
    @openapi.describe(gives={200: composed_answers.Explanation}, refuses=(404, 422))
    def get_why(message_id: str) -> Response:
        """Why a message is where it is: the chain of causes, whose turn it is, what to do, when it should go out."""
        asked_for = as_uuid(message_id)
        return jsonify(database.run(lambda: message_work.explain_one(parts, asked_for)))


def _deciding(blueprint: APIBlueprint, parts: Parts, database: Bounded, waker: Waker) -> None:
    @blueprint.post("/<message:message_id>/cancel")
    @openapi.describe(scope=Scope.OPERATE, gives={200: answers.Message}, refuses=(404, 409, 422))
    def cancel_message(message_id: str) -> Response:
        """Withdraw a message that has not been sent, or let go of one of which nobody knows whether it arrived.

        What was withdrawn before is answered alike.
        """
        asked_for = as_uuid(message_id)
        return jsonify(database.run(lambda: message_work.decide(parts, asked_for, people.cancel)))

    @blueprint.post("/<message:message_id>/resend")
    @openapi.describe(scope=Scope.OPERATE, gives={200: answers.Message}, refuses=(404, 409, 422))
    def resend_message(message_id: str) -> Response:
        """Send a message again that failed, or of which nobody knows whether it arrived.

        If it did arrive, the recipient gets it twice: that is the caller's decision. It takes its former place.
        """
        asked_for = as_uuid(message_id)
        message = database.run(lambda: message_work.decide(parts, asked_for, people.resend))
        waker.wake()
        return jsonify(message)
