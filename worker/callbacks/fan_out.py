"""Turns the changes of the feed into callbacks, one for each endpoint that is behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, func, insert, select, text, update

from worker.callbacks import endpoints
from worker.domain.message_status import PUBLIC_STATUS, MessageState
from worker.models import Callback, Endpoint, Message
from worker.outbox.feed import Change, changes_after

#: How many changes one transaction takes up.
CHANGES_AT_ONCE = 500
#: For so long a callback is tried.
GIVE_UP_AFTER = timedelta(days=1)

BEHIND_PARKED = "An earlier change of the same message is parked; this one follows it."

_INSERT = insert(Callback)
_PENDING = PUBLIC_STATUS[MessageState.QUEUED]


@dataclass(frozen=True, kw_only=True)
class _Before:
    """The callbacks of a message that are not delivered yet."""

    is_parked: bool
    due_at: datetime


def take_up_changes(
    connection: Connection, endpoint_id: int, token: str, *, now: datetime, most: int = CHANGES_AT_ONCE
) -> int | None:
    """Make callbacks of the next changes in the feed, and move the endpoint on behind them, in one transaction.

    Returns how many changes were taken up (fewer than `most`: there are no more now); None when this run has lost
    the endpoint to another one.
    """
    place = connection.execute(
        select(Endpoint.after_no, Endpoint.created_at).where(Endpoint.id == endpoint_id)
    ).one_or_none()
    if place is None:
        return None
    changes = changes_after(connection, place.after_no, most=most)
    told = [change for change in changes if _is_told(change, place.created_at)]
    seqs = sorted({change.message_seq for change in told})
    # A callback's foreign key locks its message: in everybody's order, and before the endpoint.
    messages = select(Message.seq).where(Message.seq.in_(seqs)).order_by(Message.seq)
    connection.execute(messages.with_for_update(read=True, key_share=True))
    row = endpoints.hold(connection, endpoint_id, token)
    if row is None or row.after_no != place.after_no:
        return None
    if told:
        before = _undelivered(connection, endpoint_id, seqs)
        connection.execute(_INSERT, [_callback(endpoint_id, change, before, now) for change in told])
    if changes:
        connection.execute(update(Endpoint).where(Endpoint.id == endpoint_id).values(after_no=changes[-1].feed_no))
    return len(changes)


def _is_told(change: Change, since: datetime) -> bool:
    """Whoever made a message knows that it is pending, and a new endpoint does not care for old stories."""
    return change.at >= since and not (change.is_first and change.status == _PENDING)


def _undelivered(connection: Connection, endpoint_id: int, seqs: Sequence[int]) -> Mapping[int, _Before]:
    parked = func.max(case((Callback.state == "parked", 1), else_=0))
    rows = connection.execute(
        select(Callback.message_seq, parked.label("parked"), func.max(Callback.due_at).label("due_at"))
        .where(
            Callback.endpoint_id == endpoint_id,
            Callback.message_seq.in_(seqs),
            text("callbacks.state <> 'delivered'"),
        )
        .group_by(Callback.message_seq)
    )
    return {row.message_seq: _Before(is_parked=bool(row.parked), due_at=row.due_at) for row in rows}


def _callback(endpoint_id: int, change: Change, before: Mapping[int, _Before], now: datetime) -> dict[str, object]:
    """One that has to wait behind another is due with it, and parked with it."""
    earlier = before.get(change.message_seq)
    is_parked = earlier is not None and earlier.is_parked
    return {
        "endpoint_id": endpoint_id,
        "message_seq": change.message_seq,
        "feed_no": change.feed_no,
        "status": change.status,
        "at": change.at,
        "state": "parked" if is_parked else "waiting",
        "due_at": now if earlier is None else max(now, earlier.due_at),
        "give_up_at": now + GIVE_UP_AFTER,
        "tries": 0,
        "problem": BEHIND_PARKED if is_parked else None,
    }
