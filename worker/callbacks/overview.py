"""How endpoints and their callbacks stand, for people and programs. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text

from worker.callbacks.addresses import parse_address
from worker.callbacks.breaker import Standing
from worker.domain.errors import InvalidRequest
from worker.models import Callback, Endpoint, Message

#: What is said in place of an address that this process does not know.
ENVIRONMENT = "TRUETICK_CALLBACK_URL"


@dataclass(frozen=True, kw_only=True)
class EndpointStanding:
    """An endpoint as people see it: without its secret and its address's path."""

    name: str
    address: str
    created_at: datetime
    waiting: int
    parked: int
    #: When the oldest undelivered change happened.
    oldest_at: datetime | None
    last_success_at: datetime | None
    failures: int
    in_trouble: bool
    next_try_at: datetime
    problem: str | None

    @property
    def state(self) -> str:
        """`ok`, `trouble` (calls fail, or cannot be made) or `parked` (calls succeed, but some were given up)."""
        if self.in_trouble or self.problem is not None:
            return "trouble"
        return "parked" if self.parked else "ok"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "address": self.address,
            "created_at": _iso(self.created_at),
            "waiting": self.waiting,
            "parked": self.parked,
            "oldest_at": _iso(self.oldest_at),
            "last_success_at": _iso(self.last_success_at),
            "failures": self.failures,
            "next_try_at": _iso(self.next_try_at) if self.waiting else None,
            "problem": self.problem,
        }


@dataclass(frozen=True, kw_only=True)
class CallbackView:
    """A callback that is not delivered."""

    endpoint: str
    message_id: str
    seq: int
    status: str
    at: datetime
    state: str
    tries: int
    due_at: datetime
    give_up_at: datetime
    problem: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
            "message_id": self.message_id,
            "seq": self.seq,
            "status": self.status,
            "at": _iso(self.at),
            "state": self.state,
            "tries": self.tries,
            "due_at": _iso(self.due_at) if self.state == "waiting" else None,
            "give_up_at": _iso(self.give_up_at) if self.state == "waiting" else None,
            "problem": self.problem,
        }


def standings(connection: Connection, *, environment: str | None = None) -> list[EndpointStanding]:
    """How each endpoint stands, by name. `environment` is the address that this process's environment names."""
    counts = _counts(connection)
    found = []
    for row in connection.execute(select(Endpoint.__table__).order_by(Endpoint.name)):
        waiting, parked, oldest_at = counts.get(row.id, (0, 0, None))
        standing = Standing.of(row)
        found.append(
            EndpointStanding(
                name=row.name,
                address=masked(row.address or environment),
                created_at=row.created_at,
                waiting=waiting,
                parked=parked,
                oldest_at=oldest_at,
                last_success_at=row.last_success_at,
                failures=row.failures,
                in_trouble=standing.is_in_trouble,
                next_try_at=row.next_try_at,
                problem=row.problem,
            )
        )
    return found


def masked(address: str | None) -> str:
    """Scheme and host of an address, whatever it is."""
    if address is None:
        return ENVIRONMENT
    try:
        return parse_address(address).masked
    except InvalidRequest:
        return "unusable"


def undelivered(
    connection: Connection, *, state: str, endpoint: str | None = None, limit: int
) -> Sequence[CallbackView]:
    """Callbacks that are waiting or parked (`state`), the oldest change first."""
    query = (
        select(
            *(Endpoint.name, Message.id.label("message_id"), Callback.feed_no, Callback.status, Callback.at),
            *(Callback.state, Callback.tries, Callback.due_at, Callback.give_up_at, Callback.problem),
        )
        .join_from(Callback, Endpoint, Endpoint.id == Callback.endpoint_id)
        .join(Message, Message.seq == Callback.message_seq)
        .where(text("callbacks.state <> 'delivered'"), Callback.state == state)
        .order_by(Callback.feed_no, Endpoint.name)
        .limit(limit)
    )
    if endpoint is not None:
        query = query.where(Endpoint.name == endpoint)
    return [
        CallbackView(
            endpoint=row.name,
            message_id=str(row.message_id),
            seq=row.feed_no,
            status=row.status,
            at=row.at,
            state=row.state,
            tries=row.tries,
            due_at=row.due_at,
            give_up_at=row.give_up_at,
            problem=row.problem,
        )
        for row in connection.execute(query)
    ]


def _counts(connection: Connection) -> dict[int, tuple[int, int, datetime | None]]:
    rows = connection.execute(
        select(
            Callback.endpoint_id, Callback.state, func.count().label("how_many"), func.min(Callback.at).label("at")
        )
        .where(text("callbacks.state <> 'delivered'"))
        .group_by(Callback.endpoint_id, Callback.state)
    )
    counts: dict[int, tuple[int, int, datetime | None]] = {}
    for row in rows:
        waiting, parked, oldest_at = counts.get(row.endpoint_id, (0, 0, None))
        oldest_at = row.at if oldest_at is None else min(oldest_at, row.at)
        if row.state == "waiting":
            waiting = row.how_many
        else:
            parked = row.how_many
        counts[row.endpoint_id] = (waiting, parked, oldest_at)
    return counts


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
