"""Leases: at most one drain run sends on a channel, and what it writes is fenced by the run's token.

A lease that runs out is free to be taken; whoever takes it first puts in doubt what the former holder left behind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, literal_column, or_, select, update
from sqlalchemy.orm import aliased

from worker.domain.channel_state import ChannelState
from worker.models import Channel, Message
from worker.outbox.abandoned import doubt_abandoned
from worker.outbox.openness import recipient_waits, rested, unacked

#: A slot that is further away is left to the sweep.
SOON = timedelta(seconds=5)

_free = or_(Channel.lease_expires_at.is_(None), Channel.lease_expires_at <= bindparam("now"))


def _due(priority: int, *, to_anybody: bool = False) -> Any:
    """Is there a message that `claim_next` would claim? Others would have runs lease and give back in circles."""
    waiting = aliased(Message, name="waiting")
    return exists(
        select(literal_column("1"))
        .select_from(waiting)
        .where(
            waiting.channel_id == Channel.id,
            waiting.state == literal_column("'queued'"),
            waiting.priority == literal_column(str(priority)),
            waiting.due_at <= bindparam("now"),
            or_(waiting.expires_at.is_(None), waiting.expires_at > bindparam("now")),
            rested(waiting),
            ~recipient_waits(waiting, heeding_suspects=not to_anybody),
        )
        .correlate(Channel)
    )


_has_room = and_(Channel.state == ChannelState.UP, Channel.unacked_window > unacked())
_probe_due = and_(Channel.state == ChannelState.MUTE, Channel.probe_at <= bindparam("now"))
_slot_comes = and_(
    Channel.next_slot_at <= bindparam("horizon"),
    or_(Channel.rest_until.is_(None), Channel.rest_until <= bindparam("horizon")),
)
#: Channels that may send, have something to send, and belong to nobody.
_waiting = (
    Channel.state.in_((ChannelState.UP, ChannelState.MUTE)),
    _free,
    _slot_comes,
    # Up, with room in its window; or mute, with a single message due as its next probe.
    or_(
        and_(_has_room, or_(_due(0), _due(1))),
        and_(_probe_due, or_(_due(0, to_anybody=True), _due(1, to_anybody=True))),
    ),
)

#: `key_share`: whoever stores a message for a channel (a foreign key) does not wait for a run, nor hide it from one.
_PICK = (
    select(Channel.__table__)
    .where(*_waiting)
    .order_by(Channel.next_slot_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True)
)
_ANY_WAITING = select(Channel.id).where(*_waiting).limit(1)
_TAKE = (
    update(Channel)
    .where(Channel.id.in_(bindparam("ids", expanding=True)))
    .values(
        lease_token=bindparam("token"),
        lease_expires_at=bindparam("until"),
        lease_holder=bindparam("holder"),
    )
)
_GIVE_BACK = (
    update(Channel)
    .where(Channel.id.in_(bindparam("ids", expanding=True)), Channel.lease_token == bindparam("token"))
    .values(lease_token=None, lease_expires_at=None, lease_holder=None)
)
_NEEDS_WAKE = select(Channel.id).where(
    Channel.id == bindparam("id"),
    _slot_comes,
    _free,
    or_(_has_room, _probe_due),
)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who a drain run is, and until when what it holds now is its own."""

    token: str
    holder: str
    until: datetime


def take_waiting(
    connection: Connection, lease: Lease, *, now: datetime, horizon: datetime, most: int
) -> Sequence[Any]:
    """Lease up to `most` channels that have due messages and a slot before `horizon`; the most urgent first.

    Returns their rows as they are after the take-over. A channel whose former holder died comes with its unanswered
    messages put in doubt, and with no slot before that holder's last possible POST plus one interval.
    """
    rows = connection.execute(_PICK, {"now": now, "horizon": horizon, "most": most}).all()
    if not rows:
        return ()
    expired = [row.id for row in rows if row.lease_token is not None]
    if expired:
        doubt_abandoned(connection, expired, now=now)
    connection.execute(
        _TAKE,
        {"ids": [row.id for row in rows], "token": lease.token, "until": lease.until, "holder": lease.holder},
    )
    return connection.execute(
        select(Channel.__table__).where(Channel.id.in_([row.id for row in rows])).order_by(Channel.next_slot_at)
    ).all()


def give_back(connection: Connection, token: str, channel_ids: Iterable[int]) -> None:
    """Free channels on which this run has nothing in flight."""
    ids = sorted(channel_ids)
    if ids:
        connection.execute(_GIVE_BACK, {"ids": ids, "token": token})


def anything_waiting(connection: Connection, *, now: datetime, horizon: datetime) -> bool:
    """Is there a channel that could send before `horizon` and that no run holds?"""
    return connection.execute(_ANY_WAITING, {"now": now, "horizon": horizon}).first() is not None


def needs_wake(connection: Connection, channel_id: int, now: datetime) -> bool:
    """Must a run be woken for a message committed just before? Not while one holds the channel (it will see the
    message), nor while the channel cannot send or its window is full (whoever lets it send again wakes a run)."""
    asked = {"id": channel_id, "now": now, "horizon": now + SOON}
    return connection.execute(_NEEDS_WAKE, asked).first() is not None


def is_at_work(connection: Connection, channel_id: int, *, now: datetime) -> bool:
    """Does a run hold the channel, or is a message of it being sent?"""
    held = select(Channel.id).where(Channel.id == channel_id, Channel.lease_expires_at > now)
    sending = select(Message.seq).where(
        Message.channel_id == channel_id, Message.state == literal_column("'sending'")
    )
    return any(connection.execute(found.limit(1)).first() is not None for found in (held, sending))
