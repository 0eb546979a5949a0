"""Events: the stored transitions of messages and channels, each with its source and evidence."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, insert, select

from worker.database import MANY_ROWS, insert_many
from worker.domain.message_status import PUBLIC_STATUS, MessageState, check_transition
from worker.models import Event

_INSERT = insert(Event)


class Source(StrEnum):
    """Who learnt of a transition."""

    API = "api"
    WORKER = "worker"
    WEBHOOK = "webhook"
    INFO = "info"
    LOGS = "logs"
    OPERATOR = "operator"
    #: `GET /status` of WaSender; only channels change by it.
    STATUS = "status"


def event(
    *,
    channel_id: int,
    at: datetime,
    source: Source,
    before: str | None,
    after: str,
    reason: str = "",
    message_seq: int | None = None,
    evidence: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One transition, ready for `record`. Raises IllegalTransition for a move that a message must not make, so that
    the transaction which made it is undone.
    """
    if message_seq is not None and before is not None:
        check_transition(MessageState(before), MessageState(after))
    status = _new_status(before, after) if message_seq is not None else None
    return {
        "message_seq": message_seq,
        "channel_id": channel_id,
        "at": at,
        "source": source.value,
        "before": before,
        "after": after,
        "reason": reason,
        "evidence": evidence,
        "status": status,
    }


def _new_status(before: str | None, after: str) -> str | None:
    """What the CRM sees from then on; None where it sees no change."""
    status = PUBLIC_STATUS[MessageState(after)]
    return status if before is None or status != PUBLIC_STATUS[MessageState(before)] else None


def record(connection: Connection, events: Iterable[dict[str, Any]]) -> None:
    """Store events in the order given, within the transaction that made the transitions."""
    rows = list(events)
    if len(rows) >= MANY_ROWS:
        insert_many(connection, Event.metadata.tables["events"], rows)
    elif rows:
        connection.execute(_INSERT, rows)


def count(connection: Connection, message_seq: int, *, reason: str) -> int:
    """How many events of a message bear this reason."""
    query = select(func.count()).select_from(Event).where(Event.message_seq == message_seq, Event.reason == reason)
    return connection.execute(query).scalar_one()


def record_moves(
    connection: Connection,
    messages: Iterable[Any],
    *,
    at: datetime,
    before: MessageState,
    after: MessageState,
    reason: str = "",
) -> None:
    """Store that workers moved all these messages (rows with `seq` and `channel_id`) alike."""
    record(
        connection,
        [
            event(
                message_seq=row.seq,
                channel_id=row.channel_id,
                at=at,
                source=Source.WORKER,
                before=before,
                after=after,
                reason=reason,
            )
            for row in messages
        ],
    )
