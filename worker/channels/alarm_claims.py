"""Which outages people have to be told of, and who tells them: claims, so that of two sweeps only one does.

`alarm_due_at` is the time of the next telling: of the alarm until `alarmed_at` is set, of the all-clear from then on,
and NULL when nothing is left to tell. A claim moves it on, so a teller that is lost or fails is followed by another,
and nobody is told the same more than once a minute. Weakness: a teller lost between the telling and its record tells
twice, or, if the outage ends in that moment, gives no all-clear.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, case, or_, select, update

from worker.domain.channel_state import ChannelState
from worker.models import Channel, Outage

REPEAT_AFTER = timedelta(minutes=1)
#: Nobody cares for an all-clear that comes later than this.
STALE_AFTER = timedelta(days=1)

#: The states in which a channel itself says best what is wrong with it.
_TELLING = frozenset({ChannelState.DOWN, ChannelState.MUTE, ChannelState.BLOCKED})


@dataclass(frozen=True, kw_only=True)
class News:
    """An outage that people have to be told of: that it is there or, with `ended_at`, that it is over."""

    outage_id: int
    channel_id: int
    channel: str
    #: How the channel stands now, or, where that tells nothing about the outage, how it was noticed.
    state: ChannelState
    reason: str
    began_at: datetime
    ended_at: datetime | None
    #: Does the channel stand as one that sends?
    up: bool


_UNTOLD = Outage.alarmed_at.is_(None)
_OVER = Outage.ended_at.is_not(None)


def anything_due(connection: Connection, *, now: datetime) -> bool:
    """Is there anything to tell, or to forget?"""
    due = select(Outage.id).where(Outage.alarm_due_at <= now, or_(_UNTOLD, _OVER)).limit(1)
    return connection.execute(due).first() is not None


def take_due(connection: Connection, *, now: datetime, most: int) -> list[News]:
    """Claim what is due, the oldest first; what was over before anybody was told of it is told to nobody."""
    mine = (
        select(Outage.id)
        .where(Outage.alarm_due_at <= now, or_(_UNTOLD, _OVER))
        .order_by(Outage.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = connection.execute(mine).scalars().all()
    if not ids:
        return []
    forgotten = and_(_OVER, or_(_UNTOLD, Outage.ended_at < now - STALE_AFTER))
    again_at = case((forgotten, None), else_=now + REPEAT_AFTER)
    connection.execute(update(Outage).where(Outage.id.in_(ids)).values(alarm_due_at=again_at))
    query = (
        select(
            *(Outage.id, Outage.channel_id, Outage.state, Outage.reason, Outage.began_at, Outage.ended_at),
            *(Channel.name, Channel.state.label("state_now"), Channel.reason.label("reason_now")),
        )
        .join_from(Outage, Channel, Channel.id == Outage.channel_id)
        .where(Outage.id.in_(ids), Outage.alarm_due_at.is_not(None))
        .order_by(Outage.id)
    )
    news = []
    for row in connection.execute(query):
        as_now = row.ended_at is None and row.state_now in _TELLING
        news.append(
            News(
                outage_id=row.id,
                channel_id=row.channel_id,
                channel=row.name,
                state=row.state_now if as_now else row.state,
                reason=row.reason_now if as_now else row.reason,
                began_at=row.began_at,
                ended_at=row.ended_at,
                up=row.state_now is ChannelState.UP,
            )
        )
    return news


def alarm_told(connection: Connection, outage_ids: Collection[int], *, now: datetime) -> None:
    """People know. The all-clear is due as soon as the outage ends."""
    _lock(connection, outage_ids)
    connection.execute(
        update(Outage).where(Outage.id.in_(outage_ids), _UNTOLD).values(alarmed_at=now, alarm_due_at=now)
    )


def all_clear_told(connection: Connection, outage_ids: Collection[int]) -> None:
    """People know that it is over: nothing is left to tell."""
    _lock(connection, outage_ids)
    connection.execute(update(Outage).where(Outage.id.in_(outage_ids), _OVER).values(alarm_due_at=None))


def _lock(connection: Connection, outage_ids: Collection[int]) -> None:
    """In the order of their channels, as everybody does who writes to several outages at once."""
    ids = select(Outage.id).where(Outage.id.in_(outage_ids)).order_by(Outage.channel_id, Outage.id)
    connection.execute(ids.with_for_update())
