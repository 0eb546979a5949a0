"""Which messages are to be asked about next, and how long to wait between two questions."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.orm import aliased

from worker.domain.channel_state import ChannelState
from worker.domain.message_status import MessageState
from worker.domain.retry import backoff_s
from worker.models import Attempt, Channel, Message
from worker.outbox.openness import is_open

#: How long a check may take before another process may ask again.
CHECK_LEASE = timedelta(seconds=20)
#: After this the second tick is no longer waited for: the phone may be off for good, or have receipts off.
STOP_ASKING_AFTER = timedelta(hours=24)
#: So long after its acceptance a message is asked about that has failed by the word of a webhook which may have meant
#: another one, or that a person let go; and so often at the least, which takes three quarters of an hour, for it may
#: have failed late.
DOUBT_FAILURE_FOR, DOUBT_FAILURE_CHECKS = timedelta(hours=2), 12
#: The first and the longest pause between two questions about a message, by its state, in seconds; what matters most
#: comes first. Nothing waits for the later ticks, so they cost about a dozen questions a message in all.
PAUSES_S = {
    MessageState.ACCEPTED: (2.0, 600.0),
    MessageState.FAILED: (2.0, 600.0),
    MessageState.SENT: (4.0, 6 * 3600.0),
    MessageState.DELIVERED: (60.0, 6 * 3600.0),
}
#: The longest pause for an accepted message: while its tick may just be late, and when its channel is suspect.
WATCHED_S, SUSPECT_S = 20.0, 10.0
#: How long an accepted message is watched closely.
WATCHED_FOR = timedelta(minutes=10)


_DOWN = (ChannelState.DOWN, ChannelState.BLOCKED)
#: While a channel is down its messages are left alone, but for a last question that was due when it went down.
not_left_alone = or_(Channel.state.not_in(_DOWN), Message.next_check_at <= Channel.since)


def _due_on_channel(state: MessageState, *columns: str) -> Select[Any]:
    """A channel's messages in a state that may be asked about, the longest due first. Those in doubt have rules of
    their own (`open_fates`).

    Channel by channel, so that a look walks past nothing that is left alone: a channel that is down for a day has
    hundreds of thousands of them, and none of their rows is to be touched.
    """
    due = aliased(Message, name="due")
    until = case(
        (and_(Channel.state.in_(_DOWN), Channel.since < bindparam("now")), Channel.since), else_=bindparam("now")
    )
    return (
        select(*(getattr(due, column) for column in columns))
        .where(
            due.channel_id == Channel.id,
            due.state == literal_column(f"'{state.value}'"),
            due.next_check_at <= until,
        )
        .order_by(due.next_check_at)
        .limit(bindparam("room"))
        .correlate(Channel)
    )


def _due(state: MessageState, dialect: str) -> Select[Any]:
    """Of all channels. SQLite has no LATERAL; PostgreSQL would look at each message for each channel without it."""
    if dialect == "postgresql":
        due = _due_on_channel(state, "seq", "next_check_at").lateral("due_there")
        found = select(due.c.seq).select_from(Channel).join(due, true()).order_by(due.c.next_check_at)
    else:
        due_seqs = _due_on_channel(state, "seq")
        found = (
            select(Message.seq).join_from(Channel, Message, Message.seq.in_(due_seqs)).order_by(Message.next_check_at)
        )
    return found.limit(bindparam("room"))


_DUE = {dialect: {state: _due(state, dialect) for state in PAUSES_S} for dialect in ("postgresql", "sqlite")}
#: Whoever was quicker has put it off.
_LOCK = (
    select(Message.seq)
    .where(Message.seq.in_(bindparam("seqs", expanding=True)), Message.next_check_at <= bindparam("now"))
    .order_by(Message.seq)
    .with_for_update(of=Message, skip_locked=True, key_share=True)
)


def _first_due(state: MessageState) -> Select[Any]:
    """The channel's first question, whether or not it is left alone."""
    first = aliased(Message, name="first")
    return (
        select(first.next_check_at)
        .where(
            first.channel_id == Channel.id,
            first.state == literal_column(f"'{state.value}'"),
            first.next_check_at.is_not(None),
        )
        .order_by(first.next_check_at)
        .limit(1)
        .correlate(Channel)
    )


_FIRSTS = [
    select(
        Channel.since, Channel.state.in_(_DOWN).label("is_down"), _first_due(state).scalar_subquery().label("at")
    ).subquery()
    for state in PAUSES_S
]
_NEXT_DUE = union_all(
    *(
        select(func.min(first.c.at).label("at")).where(or_(~first.c.is_down, first.c.at <= first.c.since))
        for first in _FIRSTS
    )
)


def next_due_at(connection: Connection) -> datetime | None:
    """When the next question is due; may be in the past."""
    return min((at for at in connection.execute(_NEXT_DUE).scalars() if at is not None), default=None)


def take_due_checks(connection: Connection, *, now: datetime, most: int) -> Sequence[Any]:
    """Attempts whose tick is to be asked about, oldest question first; nobody else gets them for a while.

    A channel's window waits for first ticks only. So up to `most` accepted messages are taken first, and of the rest
    what there is room for, but at least a quarter of `most`.

    Rows: attempt_id, seq, gateway_msg_id, channel_id, api_key_encrypted.
    """
    seqs: list[int] = []
    room = most
    for state, due in _DUE[connection.dialect.name].items():
        found = connection.execute(due, {"now": now, "room": room}).scalars().all()
        seqs += found
        room = max(room - len(found), most // 4 if state is MessageState.ACCEPTED else 0)
    if seqs:
        seqs = list(connection.execute(_LOCK, {"seqs": seqs, "now": now}).scalars())
    if not seqs:
        return ()
    connection.execute(update(Message).where(Message.seq.in_(seqs)).values(next_check_at=now + CHECK_LEASE))
    rows = connection.execute(
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
    nameless = set(seqs).difference(row.seq for row in rows)
    if nameless:  # WaSender has told no id of theirs, so there is nothing that it could be asked
        connection.execute(update(Message).where(Message.seq.in_(nameless)).values(next_check_at=None))
    return rows


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
    if state is MessageState.FAILED:
        asked_enough = now - accepted_at > DOUBT_FAILURE_FOR and message["checks"] >= DOUBT_FAILURE_CHECKS
        if message["next_check_at"] is None or asked_enough:
            return None
    elif state not in PAUSES_S or (state is not MessageState.ACCEPTED and now - accepted_at > STOP_ASKING_AFTER):
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
