"""All SQL on callbacks that are at rest: parked ones, which a person may have told again, and delivered ones. The
latter are forgotten after a week, the former after three months."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select, text, update

from worker.callbacks.fan_out import BEHIND_PARKED, GIVE_UP_AFTER
from worker.models import Callback

#: How many callbacks one transaction parks, wakes or forgets.
BATCH = 1000
KEEP_DELIVERED = timedelta(days=7)
KEEP_PARKED = timedelta(days=90)

_OVERDUE = "It could not be told within a day."
_IS_WAITING = text("callbacks.state = 'waiting'")
_IS_DELIVERED = text("callbacks.state = 'delivered'")


def park_overdue(connection: Connection, endpoint_id: int, now: datetime, *, most: int = BATCH) -> int:
    """Park what an endpoint in trouble has not taken within its time, each with all that waits behind it. For use
    while the endpoint is held, and only when it has just been tried in vain or cannot be called at all: what is late
    because nobody tried is not hopeless. Returns how many.
    """
    overdue = (
        select(Callback.message_seq)
        .where(Callback.endpoint_id == endpoint_id, _IS_WAITING, Callback.due_at <= now, Callback.give_up_at <= now)
        .order_by(Callback.due_at)
        .limit(most)
    )
    seqs = list(dict.fromkeys(connection.execute(overdue).scalars()))
    if not seqs:
        return 0
    of_them = (Callback.endpoint_id == endpoint_id, Callback.message_seq.in_(seqs), _IS_WAITING)
    first = connection.execute(
        update(Callback)
        .where(*of_them, Callback.give_up_at <= now)
        .values(state="parked", problem=func.coalesce(Callback.problem, _OVERDUE))
    )
    behind = connection.execute(update(Callback).where(*of_them).values(state="parked", problem=BEHIND_PARKED))
    return first.rowcount + behind.rowcount


def replay(
    connection: Connection, endpoint_id: int, now: datetime, *, since: datetime | None, most: int = BATCH
) -> int:
    """Have parked callbacks told again, the oldest first, for another day. With `since`: those of messages with a
    parked change from then on, whole, so that their order holds. Returns how many; to be repeated while it is `most`.
    """
    mine = (Callback.endpoint_id == endpoint_id, Callback.state == "parked", text("callbacks.state <> 'delivered'"))
    wanted = select(Callback.id).where(*mine)
    if since is not None:
        fresh = select(Callback.message_seq).where(*mine, Callback.at >= since)
        wanted = wanted.where(Callback.message_seq.in_(fresh.scalar_subquery()))
    ids = connection.execute(wanted.order_by(Callback.feed_no).limit(most)).scalars().all()
    if ids:
        connection.execute(
            update(Callback)
            .where(Callback.id.in_(ids))
            .values(state="waiting", due_at=now, give_up_at=now + GIVE_UP_AFTER, tries=0)
        )
    return len(ids)


def forget_delivered(connection: Connection, now: datetime, *, most: int = BATCH) -> int:
    """Delete what was delivered more than a week ago, up to `most`. Returns how many."""
    old = (
        select(Callback.id)
        .where(_IS_DELIVERED, Callback.delivered_at <= now - KEEP_DELIVERED)
        .order_by(Callback.delivered_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(Callback).where(Callback.id.in_(old.scalar_subquery()))).rowcount


def forget_parked(connection: Connection, now: datetime, *, most: int = BATCH) -> int:
    """Delete what was given up more than three months ago, up to `most`. Returns how many."""
    old = (
        select(Callback.id)
        .where(
            text("callbacks.state <> 'delivered'"),
            Callback.state == "parked",
            Callback.give_up_at <= now - KEEP_PARKED,
        )
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(Callback).where(Callback.id.in_(old.scalar_subquery()))).rowcount


def anything_to_forget(connection: Connection, now: datetime) -> bool:
    """Was anything delivered more than a week ago?"""
    old = select(Callback.id).where(_IS_DELIVERED, Callback.delivered_at <= now - KEEP_DELIVERED).limit(1)
    return connection.execute(old).first() is not None
