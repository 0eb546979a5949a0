"""All SQL on callbacks that wait to be told: which go next, and what came of telling them.

Only the oldest one of a message goes; those behind it are due no earlier than it is, and are parked with it. All of
it within transactions that hold the endpoint's row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    exists,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.orm import aliased

from worker.callbacks.breaker import Verdict, retry_after_s
from worker.callbacks.endpoints import LONGEST_PROBLEM
from worker.callbacks.fan_out import BEHIND_PARKED
from worker.domain.message_status import PUBLIC_STATUS, MessageState
from worker.models import Callback, Event

_IS_WAITING = text("callbacks.state = 'waiting'")


def _heads(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Put together once: it is asked on every turn."""
    earlier = aliased(Callback, name="earlier")
    waits = exists(
        select(literal_column("1"))
        .select_from(earlier)
        .where(
            earlier.endpoint_id == Callback.endpoint_id,
            earlier.message_seq == Callback.message_seq,
            earlier.feed_no < Callback.feed_no,
            text("earlier.state <> 'delivered'"),
        )
        .correlate(Callback)
    )
    heads = (
        select(Callback.__table__)
        .where(
            Callback.endpoint_id == bindparam("endpoint_id"),
            _IS_WAITING,
            Callback.due_at <= bindparam("now"),
            Callback.message_seq.not_in(bindparam("besides", expanding=True)),
            ~waits,
            *conditions,
        )
        .order_by(Callback.due_at, Callback.feed_no)
        .limit(bindparam("most"))
        .subquery("heads")
    )
    return (
        select(heads, Event.before)
        .join(Event, and_(Event.feed_no == heads.c.feed_no, Event.feed_no.is_not(None)))
        .order_by(heads.c.due_at, heads.c.feed_no)
    )


_HEADS, _UNTRIED_HEADS = _heads(), _heads(Callback.tries == 0)


@dataclass(frozen=True, kw_only=True)
class Due:
    """A callback that is to be told now."""

    id: int
    message_seq: int
    feed_no: int
    status: str
    at: datetime
    #: What the CRM saw before; None where the change made the message.
    previous: str | None
    #: How often it was told in vain.
    tries: int
    give_up_at: datetime


@dataclass(frozen=True, kw_only=True)
class Told:
    """A callback that was told, and what came of it."""

    due: Due
    verdict: Verdict


def take_heads(
    connection: Connection,
    endpoint_id: int,
    *,
    now: datetime,
    most: int,
    besides: Collection[int] = (),
    untried: bool = False,
) -> Sequence[Due]:
    """The oldest undelivered callbacks of up to `most` messages that are due; none of the messages `besides`, and
    with `untried` none that was told in vain."""
    asked = {"endpoint_id": endpoint_id, "now": now, "most": most, "besides": list(besides)}
    rows = connection.execute(_UNTRIED_HEADS if untried else _HEADS, asked)
    return [
        Due(
            id=row.id,
            message_seq=row.message_seq,
            feed_no=row.feed_no,
            status=row.status,
            at=row.at,
            previous=None if row.before is None else PUBLIC_STATUS[MessageState(row.before)],
            tries=row.tries,
            give_up_at=row.give_up_at,
        )
        for row in rows
    ]


def record(connection: Connection, endpoint_id: int, told: Sequence[Told], *, now: datetime) -> int:
    """Store what came of telling. Returns how many callbacks were parked by it."""
    delivered = [one.due.id for one in told if one.verdict.is_delivered]
    if delivered:
        connection.execute(
            update(Callback)
            .where(Callback.id.in_(delivered), text("callbacks.state <> 'delivered'"))
            .values(state="delivered", delivered_at=now, tries=Callback.tries + 1, problem=None)
        )
    parked = 0
    for one in told:
        if one.verdict.problem is None:
            continue
        if one.verdict.is_final or now >= one.due.give_up_at:
            parked += _park(connection, endpoint_id, one.due, one.verdict.problem)
        else:
            _put_off(connection, endpoint_id, one, now)
    return parked


def _put_off(connection: Connection, endpoint_id: int, told: Told, now: datetime) -> None:
    due = told.due
    again_at = now + timedelta(seconds=retry_after_s(due.tries + 1, told.verdict))
    # The last try comes when the time is up, so that none ends in the middle of a pause.
    again_at = min(again_at, due.give_up_at)
    connection.execute(
        update(Callback)
        .where(Callback.id == due.id)
        .values(tries=due.tries + 1, problem=(told.verdict.problem or "")[:LONGEST_PROBLEM])
    )
    connection.execute(
        update(Callback).where(*_of_message(endpoint_id, due), Callback.due_at < again_at).values(due_at=again_at)
    )


def _park(connection: Connection, endpoint_id: int, due: Due, problem: str) -> int:
    connection.execute(
        update(Callback)
        .where(Callback.id == due.id)
        .values(state="parked", tries=due.tries + 1, problem=problem[:LONGEST_PROBLEM])
    )
    behind = connection.execute(
        update(Callback)
        .where(*_of_message(endpoint_id, due), Callback.feed_no > due.feed_no)
        .values(state="parked", problem=BEHIND_PARKED)
    )
    return 1 + behind.rowcount


def _of_message(endpoint_id: int, due: Due) -> tuple[Any, ...]:
    return Callback.endpoint_id == endpoint_id, Callback.message_seq == due.message_seq, _IS_WAITING


def wake_all(connection: Connection, endpoint_id: int, now: datetime) -> int:
    """An endpoint is back: what was put off while it was away is due now. Returns how many."""
    return connection.execute(
        update(Callback)
        .where(Callback.endpoint_id == endpoint_id, _IS_WAITING, Callback.due_at > now)
        .values(due_at=now)
    ).rowcount
