"""What a lost worker left behind: messages claimed by a lease that ran out are in doubt, never sent again blindly."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, literal_column, or_, select, update

from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause, Outcome
from worker.domain.pace import Pacing
from worker.models import Channel, Message
from worker.outbox.attempts import attempt, record_attempts
from worker.outbox.events import record_moves

#: How long after an attempt without an answer evidence is looked for the first time.
FIRST_LOOK_AFTER = timedelta(seconds=5)


def _abandoned(now: datetime) -> Any:
    """Claimed, and no live lease stands behind the claim."""
    return and_(
        Message.state == literal_column("'sending'"),
        or_(
            Channel.lease_token.is_(None),
            Message.lease_token != Channel.lease_token,
            Channel.lease_expires_at <= now,
        ),
    )


def channels_left_behind(connection: Connection, *, now: datetime) -> Sequence[int]:
    """The channels on which a lost worker left messages."""
    return (
        connection.execute(
            select(Message.channel_id)
            .distinct()
            .join(Channel, Channel.id == Message.channel_id)
            .where(_abandoned(now))
        )
        .scalars()
        .all()
    )


def doubt_abandoned(connection: Connection, channel_ids: Sequence[int], *, now: datetime) -> int:
    """Put in doubt what is `sending` on these channels without a live lease. Returns how many.

    The next slot moves behind the last moment at which the lost worker could have begun a POST, so the pace holds
    although nobody knows when it did.
    """
    # Channels before their messages, as a run that takes a channel over locks them; the other way round deadlocks.
    connection.execute(
        select(Channel.id).where(Channel.id.in_(channel_ids)).order_by(Channel.id).with_for_update(key_share=True)
    )
    left = connection.execute(
        select(
            Message.seq,
            Message.channel_id,
            Message.attempts,
            Channel.lease_holder,
            Channel.lease_expires_at,
            Channel.next_slot_at,
            Channel.pace_messages,
            Channel.pace_seconds,
            Channel.slowdown,
            Channel.daily_cap,
            Channel.posts_on,
            Channel.posts_that_day,
        )
        .join(Channel, Channel.id == Message.channel_id)
        .where(Message.channel_id.in_(channel_ids), _abandoned(now))
        .order_by(Message.seq)
        # One that is locked is just being settled by the worker that was thought lost.
        .with_for_update(of=Message, key_share=True, skip_locked=True)
    ).all()
    if not left:
        return 0
    outcome = Outcome(cause=Cause.WORKER_LOST)
    connection.execute(
        update(Message)
        .where(Message.seq.in_([row.seq for row in left]))
        .values(
            state=MessageState.IN_DOUBT,
            lease_token=None,
            doubts=Message.doubts + 1,
            next_check_at=now + FIRST_LOOK_AFTER,
        )
    )
    record_attempts(
        connection,
        [
            attempt(
                message_seq=row.seq,
                number=row.attempts,
                started_at=None,
                finished_at=now,
                outcome=outcome,
                worker=row.lease_holder or "unknown",
            )
            for row in left
        ],
    )
    record_moves(
        connection, left, at=now, before=MessageState.SENDING, after=MessageState.IN_DOUBT, reason=outcome.cause
    )
    for row in {row.channel_id: row for row in left}.values():
        last_start = min(now, row.lease_expires_at or now)
        slot = Pacing.of(row).slot_after(last_start, row.next_slot_at)
        connection.execute(update(Channel).where(Channel.id == row.channel_id).values(next_slot_at=slot))
    return len(left)
