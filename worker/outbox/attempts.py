"""Attempts: the stored POSTs, one row for each, with what it proved."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func
from sqlalchemy.dialects import postgresql, sqlite

from worker.domain.outcomes import Outcome
from worker.models import Attempt

_KEY = ("message_seq", "number")
_LEARNT = ("started_at", "finished_at", "outcome", "cause", "http_status", "gateway_msg_id", "detail", "worker")


def _upsert(dialect: Any) -> Any:
    """A late answer takes the place of what was assumed when its worker was thought lost."""
    insert = dialect.insert(Attempt)
    learnt = {column: insert.excluded[column] for column in _LEARNT}
    # An id that was found in the meantime outlives an answer that names none.
    learnt["gateway_msg_id"] = func.coalesce(insert.excluded.gateway_msg_id, Attempt.gateway_msg_id)
    return insert.on_conflict_do_update(index_elements=_KEY, set_=learnt)


_UPSERTS = {"postgresql": _upsert(postgresql), "sqlite": _upsert(sqlite)}


def attempt(
    *,
    message_seq: int,
    number: int,
    started_at: datetime | None,
    finished_at: datetime,
    outcome: Outcome,
    worker: str,
) -> dict[str, Any]:
    """One attempt, ready for `record_attempts`."""
    return {
        "message_seq": message_seq,
        "number": number,
        "started_at": started_at,
        "finished_at": finished_at,
        "outcome": outcome.kind.value,
        "cause": outcome.cause.value,
        "http_status": outcome.http_status,
        "gateway_msg_id": outcome.gateway_msg_id,
        "detail": outcome.detail[:300],
        "worker": worker,
    }


def record_attempts(connection: Connection, attempts: Sequence[dict[str, Any]]) -> None:
    """Store attempts; one that is stored already takes on what is learnt now."""
    if attempts:
        connection.execute(_UPSERTS[connection.dialect.name], attempts)
