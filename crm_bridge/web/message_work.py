"""What the routes about one message do, each in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from crm_bridge.web.problems import Problem
from worker import intake
from worker.database import snapshot, transaction
from worker.domain.errors import NotFound
from worker.domain.message_request import SendRequest
from worker.outbox import reading
from worker.outbox.events import Source
from worker.parts import Parts
from worker.why import explain


@dataclass(frozen=True)
class Stored:
    message: dict[str, Any]
    created: bool
    needs_wake: bool


def store(parts: Parts, asked: SendRequest) -> Stored:
    with transaction(parts.engine) as connection:
        try:
            enqueued = intake.send_request(
                parts, connection, asked, now=parts.clock(), message_id=uuid4(), source=Source.API
            )
        except NotFound as error:  # the channel that the body names, not the address that was asked for
            raise Problem(422, error.code, error.message) from None
        message = reading.get(connection, enqueued.message_id, parts.clock()).as_json()
    return Stored(message, enqueued.created, intake.needs_wake(parts, enqueued))


def read(parts: Parts, message_id: UUID) -> dict[str, Any]:
    with snapshot(parts.engine) as connection:
        message = reading.get(connection, message_id, parts.clock())
        return message.as_json() | {
            "attempt_log": reading.attempt_log(connection, message.seq).newest,
            "events": reading.event_log(connection, message.seq).newest,
        }


def explain_one(parts: Parts, message_id: UUID) -> dict[str, Any]:
    settings = parts.settings
    with snapshot(parts.engine) as connection:
        return explain(
            connection,
            message_id,
            now=parts.clock(),
            check_interval_s=settings.check_interval_s,
            quiet_hours=settings.quiet_hours,
        ).as_json()


def decide(parts: Parts, message_id: UUID, decision: Callable[..., object]) -> dict[str, Any]:
    with transaction(parts.engine) as connection:
        decision(connection, message_id, now=parts.clock())
        return reading.get(connection, message_id, parts.clock()).as_json()
