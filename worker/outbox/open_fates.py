"""Messages whose fate is open: which are due to be judged, and how a judgement is written down, once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import aliased

from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack
from worker.domain.message_status import TICKED_STATES, MessageState
from worker.domain.pending_reason import CHANNEL_OUT
from worker.models import Attempt, Channel, Message
from worker.outbox import suppressions
from worker.outbox.events import Source, event, record
from worker.outbox.openness import is_open
from worker.outbox.questions import not_left_alone
from worker.outbox.ticks import counter_of

#: How long one process has for judging a message before another may try.
LEASE = timedelta(seconds=60)
#: How far back attempts are searched for the last id that WaSender gave before a doubted one.
LOOK_BACK = 5000

_later = aliased(Message, name="later")
#: A later message to the same recipient has gone out: sending this one again would turn their order round.
_overtaken = exists(
    select(literal_column("1"))
    .select_from(_later)
    .where(
        _later.recipient == Message.recipient,
        _later.channel_id == Message.channel_id,
        _later.state.in_(TICKED_STATES),
        _later.claimed_at > Message.claimed_at,
    )
    .correlate(Message)
)

# What is asked every few seconds is made once: making a statement takes longer than asking it.
_DUE_DOUBTS = (
    select(Message.seq)
    .join(Channel, Channel.id == Message.channel_id)
    .where(
        Message.next_check_at <= bindparam("now"),
        literal_column("messages.state = 'in_doubt'"),
        Message.attention.is_(None),
        not_left_alone,
    )
    .order_by(Message.next_check_at)
    .limit(bindparam("most"))
    .with_for_update(of=Message, skip_locked=True, key_share=True)
)
_SETTLED = (
    select(Channel.id)
    .where(
        Channel.state == ChannelState.UP,
        Channel.since <= bindparam("since"),
        exists(
            select(literal_column("1"))
            .select_from(Message)
            .where(
                Message.channel_id == Channel.id,
                is_open("messages"),
                Message.state == literal_column("'accepted'"),
                Message.accepted_at < Channel.suspect_before,
            )
            .correlate(Channel)
        ),
    )
    .order_by(Channel.id)
    .with_for_update(key_share=True)
)
_is_out = Channel.state.not_in((ChannelState.UP, ChannelState.UNKNOWN))
_OUT_TOO_LONG = (
    select(Message.seq, Message.channel_id, Message.attempts, Message.claimed_at, Message.state)
    .join(Channel, Channel.id == Message.channel_id)
    .where(
        is_open("messages"),
        literal_column("messages.state IN ('accepted', 'in_doubt')"),
        Message.claimed_at < bindparam("before"),
        _is_out,
        Channel.since < bindparam("before"),
    )
)
_elsewhere = aliased(Message, name="later")
_TAKE_BACK = update(Message).where(
    Message.channel_id == bindparam("_channel_id"),
    literal_column("messages.attention") == CHANNEL_OUT,
    # A later one has gone out on another channel meanwhile: sending this one would turn their order round.
    ~exists(
        select(literal_column("1"))
        .select_from(_elsewhere)
        .where(
            _elsewhere.recipient == Message.recipient,
            _elsewhere.channel_id != Message.channel_id,
            _elsewhere.claimed_at > Message.claimed_at,
        )
        .correlate(Message)
    ),
)
_UNTICKED = (
    select(Message.seq, Message.channel_id, Message.attempts, Message.claimed_at)
    .join(Channel, Channel.id == Message.channel_id)
    .where(
        is_open("messages"),
        Message.state == literal_column("'accepted'"),
        Message.accepted_at < bindparam("before"),
        # What waits for a channel that is not up is told of otherwise, and judged once that is back.
        Channel.state == ChannelState.UP,
        # What an outage may have swallowed is judged first.
        or_(
            Channel.suspect_before.is_(None),
            Message.accepted_at >= Channel.suspect_before,
            Channel.since < bindparam("before"),
        ),
    )
)


#: In two parts, for there is an index of what is open and one of what a person has to look at.
_RIVALS = union_all(
    *(
        select(Message.seq, Message.recipient, Message.content, Message.claimed_at).where(
            Message.channel_id == bindparam("channel_id"),
            part,
            literal_column("messages.state IN ('sending', 'in_doubt')"),
        )
        for part in (is_open("messages"), Message.attention.is_not(None))
    )
)


def take_due_doubts(connection: Connection, *, now: datetime, most: int) -> Sequence[Any]:
    """Messages in doubt that are due to be judged; nobody else gets them for a minute.

    Rows: seq, recipient, content, claimed_at, attempts, doubts, resends, on_doubt, overtaken; attempt_id, started_at,
    finished_at of the attempt; channel_id, channel_state, channel_since, gateway_session_id, api_key_encrypted.
    """
    seqs = connection.execute(_DUE_DOUBTS, {"now": now, "most": most}).scalars().all()
    if not seqs:
        return ()
    judge_again(connection, seqs, at=now + LEASE)
    return connection.execute(
        select(
            *(Message.seq, Message.recipient, Message.content, Message.claimed_at, Message.attempts),
            *(Message.doubts, Message.resends, Message.on_doubt, _overtaken.label("overtaken")),
            *(Attempt.id.label("attempt_id"), Attempt.started_at, Attempt.finished_at),
            *(Channel.id.label("channel_id"), Channel.state.label("channel_state")),
            *(Channel.since.label("channel_since"), Channel.gateway_session_id, Channel.api_key_encrypted),
        )
        .join(Channel, Channel.id == Message.channel_id)
        .join(Attempt, and_(Attempt.message_seq == Message.seq, Attempt.number == Message.attempts))
        .where(Message.seq.in_(seqs))
        .order_by(Message.seq)
    ).all()


def judge_again(connection: Connection, seqs: Collection[int], *, at: datetime) -> None:
    """Those that are still in doubt are looked at again then."""
    connection.execute(
        update(Message)
        .where(Message.seq.in_(seqs), Message.state == literal_column("'in_doubt'"))
        .values(next_check_at=at)
    )


def judge_soon(connection: Connection, channel_id: int, *, now: datetime) -> None:
    """A channel has come up: its doubts are looked at now, however far their next look was put off."""
    connection.execute(
        update(Message)
        .where(
            Message.channel_id == channel_id,
            is_open("messages"),
            Message.state == literal_column("'in_doubt'"),
        )
        .values(next_check_at=now)
    )


def take_swallowed(connection: Connection, *, now: datetime, settle: timedelta) -> Sequence[Any]:
    """Accepted messages without a tick that an outage may have swallowed, on channels that have been up for a while.

    Locked until the end of the transaction, after their channels. Rows: seq, channel_id, recipient, claimed_at,
    attempts, resends, asked_at, gateway_msg_id, overtaken, channel_since, tick_latency_s, failed (WhatsApp or
    WaSender said so).
    """
    settled = connection.execute(_SETTLED, {"since": now - settle}).scalars().all()
    if not settled:
        return ()
    return connection.execute(
        select(
            *(Message.seq, Message.channel_id, Message.recipient, Message.claimed_at, Message.attempts),
            *(Message.resends, Message.asked_at, Message.gateway_msg_id, _overtaken.label("overtaken")),
            func.coalesce(Attempt.ack == Ack.ERROR, false()).label("failed"),
            *(Channel.since.label("channel_since"), Channel.tick_latency_s),
        )
        .join(Channel, Channel.id == Message.channel_id)
        .join(Attempt, and_(Attempt.message_seq == Message.seq, Attempt.number == Message.attempts))
        .where(
            Message.channel_id.in_(settled),
            is_open("messages"),
            Message.state == literal_column("'accepted'"),
            Message.accepted_at < Channel.suspect_before,
        )
        .order_by(Message.seq)
        .with_for_update(of=Message, key_share=True)
    ).all()


def unticked_too_long(connection: Connection, *, before: datetime) -> Sequence[Any]:
    """Messages accepted before that time and never ticked, on channels that are up.

    Rows: seq, channel_id, attempts, claimed_at.
    """
    return connection.execute(_UNTICKED, {"before": before}).all()


def out_too_long(connection: Connection, *, before: datetime) -> Sequence[Any]:
    """Messages whose fate has been open since before that time, on channels that have been out for as long.

    Rows: seq, channel_id, attempts, claimed_at, state.
    """
    return connection.execute(_OUT_TOO_LONG, {"before": before}).all()


def is_out(connection: Connection, channel_id: int) -> bool:
    """Is nothing found out on this channel for now? Its row has to be locked for the answer to stay true."""
    found = connection.execute(select(Channel.id).where(Channel.id == channel_id, _is_out))
    return found.first() is not None


def call_off(connection: Connection, channel_id: int) -> None:
    """The channel is back, so what it may have swallowed is judged by the rules, if no person has decided."""
    connection.execute(_TAKE_BACK.values(attention=None), {"_channel_id": channel_id})


def last_id_before(connection: Connection, channel_id: int, attempt_id: int, began_at: datetime) -> int | None:
    """The largest id that WaSender had given on this channel in attempts that had ended when this one began."""
    recent = (
        select(Attempt.gateway_msg_id, Attempt.finished_at, Attempt.message_seq)
        .where(Attempt.id < attempt_id)
        .order_by(Attempt.id.desc())
        .limit(LOOK_BACK)
        .subquery()
    )
    found: int | None = connection.execute(
        select(func.max(recent.c.gateway_msg_id))
        .join(Message, Message.seq == recent.c.message_seq)
        .where(recent.c.finished_at < began_at, Message.channel_id == channel_id)
    ).scalar()
    return found


def known_ids(
    connection: Connection, channel_id: int, *, since_attempt: int, listed: Collection[int]
) -> dict[int, datetime]:
    """WaSender's ids of attempts on this channel, with the time each ended: all recent ones, and those listed."""
    rows = connection.execute(
        select(Attempt.gateway_msg_id, Attempt.finished_at)
        .join(Message, Message.seq == Attempt.message_seq)
        .where(
            Message.channel_id == channel_id,
            Attempt.gateway_msg_id.is_not(None),
            or_(Attempt.id >= since_attempt - LOOK_BACK, Attempt.gateway_msg_id.in_(listed)),
        )
    )
    return {row.gateway_msg_id: row.finished_at for row in rows}


def rivals(connection: Connection, channel_id: int, *, besides: Collection[int], now: datetime) -> Sequence[Any]:
    """Other messages of a channel that a row of the log may belong to: being sent, or in doubt themselves."""
    rows = [row for row in connection.execute(_RIVALS, {"channel_id": channel_id}) if row.seq not in besides]
    return [
        Rival(
            attempt_id=-row.seq,
            recipient=row.recipient,
            content=row.content,
            started_at=row.claimed_at,
            finished_at=now,
        )
        for row in rows
    ]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """An attempt that has no row yet; its `attempt_id` is none that a stored one could have."""

    attempt_id: int
    recipient: str = field(repr=False)
    content: dict[str, Any] = field(repr=False)
    started_at: datetime
    finished_at: datetime


def adopt(
    connection: Connection,
    row: Any,
    before: MessageState,
    *,
    now: datetime,
    source: Source,
    gateway_msg_id: int | None = None,
    whatsapp_key_id: str | None = None,
) -> bool:
    """A message was accepted after all, under these ids: it was in doubt, or even back in the queue. False if another
    attempt is under way by now.

    `row` has seq, channel_id, attempts, claimed_at, attempt_id and finished_at. Its channel's row has to be locked.
    """
    ids: dict[str, Any] = {"gateway_msg_id": gateway_msg_id, "whatsapp_key_id": whatsapp_key_id}
    learnt = {name: value for name, value in ids.items() if value is not None}
    values = learnt | {
        "accepted_at": row.finished_at,
        "next_check_at": now if gateway_msg_id is not None else None,
        "checks": 0,
        "attention": None,
    }
    if not _move(connection, row, before, MessageState.ACCEPTED, values, now, source, "found", learnt):
        return False
    connection.execute(update(Attempt).where(Attempt.id == row.attempt_id).values(**learnt))
    counter = counter_of(source)
    counted = update(Channel).where(Channel.id == row.channel_id)
    connection.execute(counted.values({counter: getattr(Channel, counter) + 1}))
    return True


def requeue(
    connection: Connection,
    row: Any,
    before: MessageState,
    *,
    now: datetime,
    source: Source,
    reason: str,
    resent: bool,
) -> bool:
    """Back to its place in the queue; what its former attempt may still bring is kept with that attempt.

    There it fails if its recipient has come to want no messages. False if something else has moved it meanwhile.
    """
    values = {
        "accepted_at": None,
        "gateway_msg_id": None,
        "whatsapp_key_id": None,
        "next_check_at": None,
        "checks": 0,
        "asked_at": None,
        "attention": None,
        "refusals": 0,
        "refused_at": None,
        "retry_at": None,
        "resends": Message.resends + (1 if resent else 0),
        "error_code": None,
        "error_message": None,
    }
    moved = _move(connection, row, before, MessageState.QUEUED, values, now, source, reason, None)
    if moved:
        suppressions.fail_returned(connection, [row.seq], now=now)
    return moved


def fail(
    connection: Connection,
    row: Any,
    before: MessageState,
    *,
    now: datetime,
    source: Source,
    code: str,
    sentence: str,
    tick_may_come: bool = False,
) -> bool:
    """Given up. Where its tick may come all the same, what WaSender has named is still asked about for a while."""
    values: dict[str, Any] = {"error_code": code, "error_message": sentence[:500], "attention": None}
    values["next_check_at"] = None
    if tick_may_come:
        is_named = Message.gateway_msg_id.is_not(None)
        values |= {"next_check_at": case((is_named, Message.next_check_at)), "checks": 0}
    return _move(connection, row, before, MessageState.FAILED, values, now, source, code, None)


def hold(connection: Connection, row: Any, state: MessageState, *, now: datetime, code: str) -> bool:
    """Nothing more can be found out without a person: keep it as it is, and say so."""
    values: dict[str, Any] = {"attention": code}
    # It is judged no more, unless its channel comes back; one that is accepted may still be ticked.
    if state is MessageState.IN_DOUBT and code != CHANNEL_OUT:
        values["next_check_at"] = None
    return _move(connection, row, state, state, values, now, Source.WORKER, code, None)


def _move(
    connection: Connection,
    row: Any,
    before: MessageState,
    after: MessageState,
    values: dict[str, Any],
    now: datetime,
    source: Source,
    reason: str,
    evidence: dict[str, Any] | None,
) -> bool:
    """Move a message, unless something else has moved it meanwhile."""
    moved = connection.execute(
        update(Message)
        .where(
            Message.seq == row.seq,
            Message.state == before,
            Message.attempts == row.attempts,
            # An attempt that did not count leaves its number to the next one.
            Message.claimed_at.is_not_distinct_from(row.claimed_at),
        )
        .values(state=after, **values)
        .returning(Message.seq)
    ).scalar_one_or_none()
    if moved is None:
        return False
    news = event(
        message_seq=row.seq,
        channel_id=row.channel_id,
        at=now,
        source=source,
        before=before,
        after=after,
        reason=reason,
        evidence=(evidence or {}) | {"attempt": row.attempts},
    )
    record(connection, [news])
    return True
