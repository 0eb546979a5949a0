"""`/api/messages`: a CRM hands over a message, and asks what became of it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from apiflask import APIBlueprint
from flask import Response, jsonify, url_for

from crm_bridge.web import answers, json_body, openapi
from crm_bridge.web.bounded import Bounded
from crm_bridge.web.problems import Problem
from crm_bridge.web.waking import Waker
from worker import intake
from worker.database import snapshot, transaction
from worker.domain.errors import NotFound
from worker.domain.message_request import SendRequest, parse_request
from worker.outbox import reading
from worker.outbox.events import Source
from worker.parts import Parts


def routes(parts: Parts, database: Bounded, waker: Waker) -> APIBlueprint:
    blueprint = APIBlueprint("messages", __name__, url_prefix="/api/messages")

    @blueprint.post("")
    @openapi.describe(
        takes=SendRequest,
        gives={202: answers.Message, 200: answers.Message},
        refuses=(400, 401, 409, 413, 415, 422, 503),
    )
    def send_message() -> tuple[Response, int, dict[str, str]]:
        """Send a message.

        Answers 202 once the message is stored, 200 when it was stored before (same id or idempotency key and same
        content). It is called sent only when WhatsApp has ticked it.
        """
        request = parse_request(json_body.read_object())
        stored = database.run(lambda: _store(parts, request))
        if stored.needs_wake:
            waker.wake()
        place = url_for("messages.get_message", message_id=stored.message["id"])
        return jsonify(stored.message), 202 if stored.created else 200, {"Location": place}

    @blueprint.get("/<message_id>")
    @openapi.describe(gives={200: answers.MessageWithHistory}, refuses=(401, 404, 422, 503))
    def get_message(message_id: str) -> Response:
        """Look a message up, with its newest attempts and events (200 of each at the most), in order."""
        asked_for = _as_uuid(message_id)
        return jsonify(database.run(lambda: _read(parts, asked_for)))

    return blueprint


@dataclass(frozen=True)
class _Stored:
    message: dict[str, Any]
    created: bool
    needs_wake: bool


def _store(parts: Parts, request: SendRequest) -> _Stored:
    with transaction(parts.engine) as connection:
        try:
            enqueued = intake.send_request(
                parts, connection, request, now=parts.clock(), message_id=uuid4(), source=Source.API
            )
        except NotFound as error:  # the channel that the body names, not the address that was asked for
            raise Problem(422, error.code, error.message) from None
        message = reading.get(connection, enqueued.message_id, parts.clock()).as_json()
    return _Stored(message, enqueued.created, intake.needs_wake(parts, enqueued))


def _read(parts: Parts, message_id: UUID) -> dict[str, Any]:
    with snapshot(parts.engine) as connection:
        message = reading.get(connection, message_id, parts.clock())
        return message.as_json() | {
            "attempt_log": reading.attempt_log(connection, message.seq).newest,
            "events": reading.event_log(connection, message.seq).newest,
        }


def _as_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(
            422, "bad_message_id", "A message's id is a UUID, such as 019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7e."
        ) from None
