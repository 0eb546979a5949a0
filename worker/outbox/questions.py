"""Which messages are to be asked about next, and how long to wait between two questions."""

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, exists, literal_column, or_, select, union_all, update

from worker.domain.channel_state import ChannelState
from worker.domain.message_status import MessageState
from worker.domain.retry import backoff_s
from worker.models import Attempt, Channel, Message
from worker.outbox.openness import is_open

#: How long a check may take before another process may ask again.
CHECK_LEASE = timedelta(seconds=20)
#: After this the second tick is no longer waited for: the phone may be off for good, or have receipts off.
STOP_ASKING_AFTER = timedelta(hours=24)
#: The first and the longest pause between two questions about a message, by its state, in seconds; what matters most
#: comes first. Nothing waits for the later ticks, so they cost about a dozen questions a message in all.
PAUSES_S = {
    MessageState.ACCEPTED: (2.0, 600.0),
    MessageState.SENT: (4.0, 6 * 3600.0),
    MessageState.DELIVERED: (60.0, 6 * 3600.0),
}
#: The longest pause for an accepted message: while its tick may just be late, and when its channel is suspect.
WATCHED_S, SUSPECT_S = 20.0, 10.0
#: How long an accepted message is watched closely.
WATCHED_FOR = timedelta(minutes=10)


#: What cannot be asked about is looked at again after as long as its channel has been down already, in steps between
#: these, so that a look costs what may be asked, however much is left alone and for how long.
LEFT_ALONE_FIRST, LEFT_ALONE_MOST = timedelta(seconds=30), timedelta(hours=1)
#: All that is left alone comes up together at whole multiples of this, lest there be always something to look at.
_TOGETHER_S = 30
#: So often one look goes on behind what it had to leave alone.
_MOST_LOOKS = 10

_DOWN = (ChannelState.DOWN, ChannelState.BLOCKED)
#: While a channel is down its messages are left alone, but for a last question that was due when it went down.
not_left_alone = or_(Channel.state.not_in(_DOWN), Message.next_check_at < Channel.since)


def _by_time(state: MessageState) -> tuple[Any, ...]:
    """Messages in a state that are asked about. Those in doubt have rules of their own (`open_fates`)."""
    return Message.state == state, Message.next_check_at.is_not(None)


_FIRSTS = [
    select(Message.next_check_at).where(*_by_time(state)).order_by(Message.next_check_at).limit(1).subquery()
    for state in PAUSES_S
]
_NEXT_DUE = union_all(*(select(first.c.next_check_at) for first in _FIRSTS))
#: The longest due first: one walk along the index of questions.
_TAKE = {
    state: select(Message.seq, Channel.since, (~not_left_alone).label("left_alone"))
    .join_from(Message, Channel, Channel.id == Message.channel_id)
    .where(*_by_time(state), Message.next_check_at <= bindparam("now"))
    .order_by(Message.next_check_at)
    .limit(bindparam("room"))
    .with_for_update(of=Message, skip_locked=True, key_share=True)
    for state in PAUSES_S
}
_HOLD = (
    update(Message).where(Message.seq.in_(bindparam("seqs", expanding=True))).values(next_check_at=bindparam("until"))
)
#: Asked anew whether the channel is down: if it has come up meanwhile, `ask_soon` has been here, or waits for us.
_LEAVE_ALONE = (
    update(Message)
    .where(
        Message.seq.in_(bindparam("seqs", expanding=True)),
        exists(select(literal_column("1")).where(Channel.id == Message.channel_id, Channel.state.in_(_DOWN))),
    )
    .values(next_check_at=bindparam("until"))
)


def next_due_at(connection: Connection) -> datetime | None:
    """When the next question is due, or something to be left alone comes up; may be in the past."""
    return min(connection.execute(_NEXT_DUE).scalars(), default=None)


def take_due_checks(connection: Connection, *, now: datetime, most: int) -> Sequence[Any]:
    """Attempts whose tick is to be asked about, oldest question first; nobody else gets them for a while.

    A channel's window waits for first ticks only. So up to `most` accepted messages are taken first, and of the rest
    what there is room for, but at least a quarter of `most`.

    Rows: attempt_id, seq, gateway_msg_id, channel_id, api_key_encrypted.
    """
    seqs: list[int] = []
    room = most
    for state, due in _TAKE.items():
        found = _take(connection, due, now=now, most=room)
        seqs += found
        room = max(room - len(found), most // 4 if state is MessageState.ACCEPTED else 0)
    if not seqs:
        return ()
    connection.execute(_HOLD, {"seqs": seqs, "until": now + CHECK_LEASE})
    return connection.execute(
        select(
            Attempt.id.label("attempt_id"),
            Message.seq,
            Attempt.gateway_msg_id,
            Message.channel_id,
            Channel.api_key_encrypted,
        )
        .join(Message, Message.seq == Attempt.message_seq)
        .join(Channel, Channel.id == Message.channel_id)
        .where(Message.seq.in_(seqs), Attempt.gateway_msg_id.is_not(None))
        .order_by(Message.seq, Attempt.number)
    ).all()


def _take(connection: Connection, due: Any, *, now: datetime, most: int) -> list[int]:
    """Up to `most` due messages of one state; what must be left alone is moved out of the way of later looks."""
    found: list[int] = []
    for _ in range(_MOST_LOOKS):
        room = most - len(found)
        rows = connection.execute(due, {"now": now, "room": room}).all() if room else []
        found += [row.seq for row in rows if not row.left_alone]
        alone: dict[datetime, list[int]] = {}
        for row in rows:
            if row.left_alone:
                alone.setdefault(_left_alone_until(row.since, now), []).append(row.seq)
        for until, seqs in alone.items():
            connection.execute(_LEAVE_ALONE, {"seqs": seqs, "until": until})
        if not alone or len(rows) < room:
            break
        if found:  # those are still due for the next walk
            connection.execute(_HOLD, {"seqs": found, "until": now + CHECK_LEASE})
    return found


def _left_alone_until(down_since: datetime, now: datetime) -> datetime:
    pause = LEFT_ALONE_FIRST
    while pause < LEFT_ALONE_MOST and 2 * pause <= now - down_since:
        pause *= 2
    at_s = (now + min(pause, LEFT_ALONE_MOST)).timestamp()
    return datetime.fromtimestamp(math.ceil(at_s / _TOGETHER_S) * _TOGETHER_S, UTC)


def give_back_checks(connection: Connection, seqs: Collection[int], *, now: datetime) -> None:
    """Whoever took these did not come to ask about them, so they are due at once.

    Waits for nobody, for it holds no channel: who has locked one of them is just learning what became of it.
    """
    mine = select(Message.seq).where(Message.seq.in_(seqs), Message.next_check_at.is_not(None))
    free = connection.execute(mine.with_for_update(skip_locked=True, key_share=True)).scalars().all()
    connection.execute(update(Message).where(Message.seq.in_(free)).values(next_check_at=now))


def ask_soon(connection: Connection, channel_id: int, *, now: datetime) -> None:
    """Ask about the accepted messages of a channel at once, and often: much depends on it."""
    connection.execute(
        update(Message)
        .where(Message.channel_id == channel_id, is_open("messages"), Message.state == "accepted")
        .values(next_check_at=now, checks=0)
    )


def next_check(message: Mapping[str, Any], *, now: datetime, settle: timedelta) -> datetime | None:
    """When to ask about a message again; None when there is nothing left to learn.

    `message` is its row with `suspect_before` and `channel_since` of its channel. One that an outage may have
    swallowed is asked about once more when its channel has been up again for the time `settle`: that answer decides.
    """
    state = message["state"]
    accepted_at = message["accepted_at"] or message["created_at"]
    if state is MessageState.IN_DOUBT:  # its own rules move it on
        kept: datetime | None = message["next_check_at"]
        return kept
    if state not in PAUSES_S or (state is not MessageState.ACCEPTED and now - accepted_at > STOP_ASKING_AFTER):
        return None
    first_s, most_s = PAUSES_S[state]
    if state is not MessageState.ACCEPTED:
        return now + _pause(message["checks"], first_s, most_s)
    suspect_before = message["suspect_before"]
    if suspect_before is None or accepted_at >= suspect_before or message["attention"] is not None:
        return now + _pause(message["checks"], first_s, WATCHED_S if now - accepted_at < WATCHED_FOR else most_s)
    at = now + _pause(message["checks"], first_s, SUSPECT_S)
    settled_at: datetime = message["channel_since"] + settle
    return min(at, settled_at) if now < settled_at else at


def _pause(checks: int, first_s: float, most_s: float) -> timedelta:
    return timedelta(seconds=backoff_s(checks + 1, first_s=first_s, most_s=most_s))
