"""Failover: what may go out on another channel of its pool does so, while its own one cannot send for too long.

Weakness: a message that is being stored for the channel in the very moment follows with the next look. Should the
channel come up before that, it can go out before those that have moved.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, literal_column, select
from sqlalchemy.orm import aliased

from worker.channels import window
from worker.channels.choice import acquainted
from worker.channels.queues import queues_of, shortest
from worker.domain.channel_state import ChannelState
from worker.models import Channel
from worker.outbox import redirect

_OUT = (ChannelState.DOWN, ChannelState.MUTE, ChannelState.BLOCKED, ChannelState.PAUSED)


_sibling = aliased(Channel, name="sibling")
_another_is_up = exists(
    select(literal_column("1"))
    .select_from(_sibling)
    .where(_sibling.pool == Channel.pool, _sibling.state == ChannelState.UP, _sibling.id != Channel.id)
    .correlate(Channel)
)
_is_out = and_(Channel.state.in_(_OUT), Channel.since <= bindparam("out_since"), Channel.pool.is_not(None))
#: The same object each time, for by that the statement with it is found again.
_IS_UP = Channel.state == ChannelState.UP
#: Made once: it is asked every few seconds, and making it takes longer than asking it.
_STRANDED = select(Channel.id).where(_is_out, _another_is_up, redirect.anything_due()).order_by(Channel.id)


def stranded(connection: Connection, *, now: datetime, after: timedelta) -> list[int]:
    """The channels that have been out for so long, with something that a channel which is up may send for them.

    An index probe or two a channel, however much is parked there.
    """
    return list(connection.execute(_STRANDED, {"now": now, "out_since": now - after}).scalars())


def move(connection: Connection, channel_id: int, *, now: datetime, after: timedelta, most: int) -> int:
    """Let other channels of the pool take over from one that is still out: the most urgent recipients first, about
    `most` messages. Returns how many have moved.

    Nothing is locked or written where nothing may move. Else the channels of the pool are locked by id, then the
    messages by seq, and all is looked at once more.
    """
    recipients = redirect.free_recipients(connection, channel_id, now=now, most=most)
    if not recipients:
        return 0
    here, up = _lock_pool(connection, channel_id, now - after)
    if here is None or not up:
        return 0
    queues = redirect.lock_queues(connection, channel_id, recipients)
    targets = _targets(connection, here.pool, queues, up, now=now)
    names = {row.id: row.name for row in up}
    return redirect.redirect(connection, queues, targets, names, left=here.name, now=now)


def _lock_pool(connection: Connection, channel_id: int, out_since: datetime) -> tuple[Any, list[Any]]:
    """The channel's row, None if it is not out any more; and those of its pool that are up."""
    pool = connection.execute(select(Channel.pool).where(Channel.id == channel_id)).scalar_one()
    in_pool = connection.execute(select(Channel.id).where(Channel.pool == pool)).scalars().all()
    window.lock(connection, in_pool)
    rows = connection.execute(
        select(Channel.__table__, _is_out.label("is_out"))
        .where(Channel.id.in_(in_pool), Channel.pool == pool)
        .order_by(Channel.id),
        {"out_since": out_since},
    ).all()
    here = next((row for row in rows if row.id == channel_id and row.is_out), None)
    return here, [row for row in rows if row.state is ChannelState.UP]


def _targets(
    connection: Connection, pool: str, queued: Mapping[str, Sequence[Any]], up: Sequence[Any], *, now: datetime
) -> dict[str, int]:
    """The channel that takes each recipient's messages. Nobody goes past what waits on a third channel."""
    asked = {(pool, recipient): rows[0].seq for recipient, rows in queued.items()}
    known = acquainted(connection, asked, usable=_IS_UP)
    queues = queues_of(connection, up, now=now)
    targets: dict[str, int] = {}
    for recipient, rows in queued.items():
        target = known.get((pool, recipient))
        if target is None:
            target = shortest(queues.values(), recipient, min(row.priority for row in rows), now)
        if target not in queues:
            continue
        targets[recipient] = target
        for row in rows:
            queues[target].join(row.priority)
    return targets
