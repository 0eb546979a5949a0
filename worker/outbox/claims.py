"""Claims the next message of each leased channel, and writes down what its attempt proved.

`sending` is committed before a POST begins and the outcome after it ended, so a crash in between is seen as doubt.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import aliased

from worker.domain.channel_state import ChannelState
from worker.domain.message_status import TICKED_STATES, MessageState
from worker.domain.outcomes import ChannelEffect, Outcome, OutcomeKind
from worker.domain.quiet_hours import QuietHours
from worker.domain.refusals import GIVEN_UP_CODE, GIVEN_UP_SENTENCE, Refusals
from worker.domain.window import ticked_through
from worker.models import Channel, Message
from worker.outbox import first_contacts, suppressions
from worker.outbox.abandoned import FIRST_LOOK_AFTER
from worker.outbox.attempts import attempt, record_attempts
from worker.outbox.contents import make_ready
from worker.outbox.events import Source, event, record, record_moves
from worker.outbox.holding import sift
from worker.outbox.openness import is_refused, recipient_waits, rested, unacked
from worker.outbox.quotes import LEFT_OUT

#: How long after its acceptance message info is asked for the first time.
FIRST_CHECK_AFTER = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A message that is ours to POST, once."""

    seq: int
    channel_id: int
    recipient: str = field(repr=False)
    content: dict[str, Any] = field(repr=False)
    attempt: int
    #: Tells this claim from a later one that counts as the same attempt, because this one turned out not to count.
    claimed_at: datetime
    #: It was counted against the day's budget of first contacts.
    first_contact: bool = False
    #: Ask WhatsApp whether the number exists before it is posted.
    check_number: bool = False
    #: How often it was refused without that counting as an attempt.
    refusals: int = 0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An attempt that has come to its end. `started_at` is None when no request was begun."""

    claim: Claim
    started_at: datetime | None
    finished_at: datetime
    outcome: Outcome
    #: WaSender's status says, too, that the channel cannot send, so a refusal is none of the message.
    channel_is_down: bool = False


def _head(priority: int, *, to_anybody: bool = False) -> Any:
    """The first message of a channel in one rank whose recipient has no other message under way.

    A mute channel may try one `to_anybody`, even if an outage may have swallowed an earlier one to that recipient:
    without a tick the channel would never come up, and then nobody would ever judge the earlier one. What was refused
    lets others go first until the channel was ticked after its pause, so that it holds up nobody.
    """
    waiting = aliased(Message, name="waiting")
    return (
        select(waiting.seq)
        .where(
            waiting.state == literal_column("'queued'"),
            waiting.priority == literal_column(str(priority)),
            or_(waiting.refused_at.is_(None), waiting.retry_at < Channel.last_tick_at),
            *_may_go(waiting, to_anybody=to_anybody),
        )
        .order_by(waiting.due_at, waiting.seq)
        .limit(1)
        .correlate(Channel)
        .scalar_subquery()
    )


def _refused_head(*, to_anybody: bool = False) -> Any:
    """Where nobody else waits: the one whose pause was over first, so that each has its turn. There are few."""
    waiting = aliased(Message, name="refused_head")
    return (
        select(waiting.seq)
        .where(is_refused("refused_head"), *_may_go(waiting, to_anybody=to_anybody))
        .order_by(waiting.retry_at, waiting.seq)
        .limit(1)
        .correlate(Channel)
        .scalar_subquery()
    )


def _may_go(waiting: Any, *, to_anybody: bool) -> tuple[Any, ...]:
    return (
        waiting.channel_id == Channel.id,
        waiting.due_at <= bindparam("now"),
        or_(waiting.expires_at.is_(None), waiting.expires_at > bindparam("now")),
        rested(waiting),
        ~recipient_waits(waiting, heeding_suspects=not to_anybody),
        *((Channel.state == literal_column("'mute'"),) if to_anybody else ()),
    )


#: Channel rows stay locked until the turn's commit, so the lease that is seen here holds for the claim.
_HEADS = (
    select(
        Channel.id,
        Channel.state,
        Channel.probe_at,
        (Channel.unacked_window > unacked()).label("has_room"),
        func.coalesce(
            *(_head(0), _head(1), _head(0, to_anybody=True), _head(1, to_anybody=True)),
            *(_refused_head(), _refused_head(to_anybody=True)),
        ).label("seq"),
    )
    .where(Channel.id.in_(bindparam("ids", expanding=True)), Channel.lease_token == bindparam("token"))
    .order_by(Channel.id)
    .with_for_update(of=Channel, key_share=True)
)
_CLAIM = (
    update(Message)
    .where(Message.seq.in_(bindparam("seqs", expanding=True)), Message.state == literal_column("'queued'"))
    .values(
        state=MessageState.SENDING,
        lease_token=bindparam("token"),
        claimed_at=bindparam("now"),
        attempts=Message.attempts + 1,
    )
    .returning(
        *(Message.seq, Message.channel_id, Message.recipient, Message.content, Message.attempts),
        *(Message.check_number, Message.refusals),
    )
)
#: What heeds quiet hours or a budget of first contacts has to be looked at first (see `holding`), and so has what its
#: recipient has come to want no more.
_CLAIM_FREE = _CLAIM.where(
    Message.quiet_zone.is_(None), Message.first_contact.is_(False), ~suppressions.is_unwanted(Message)
)
#: How many of a channel's messages in a row one turn holds back before another turn goes on with it.
MOST_LOOKS = 4
_LOCK = (
    select(
        *(Message.seq, Message.state, Message.lease_token, Message.claimed_at, Message.attempts, Message.doubts),
        *(Message.refusals, Message.refused_at, Message.retry_at),
    )
    .where(Message.seq.in_(bindparam("seqs", expanding=True)))
    .order_by(Message.seq)
    .with_for_update(key_share=True)
)
_TICKED = select(Channel.id, Channel.overtaken_before, Channel.tick_latency_s).where(
    Channel.id.in_(bindparam("ids", expanding=True))
)
_SETTLE = (
    update(Message)
    .where(Message.seq == bindparam("_seq"))
    .values(
        state=bindparam("_state"),
        lease_token=None,
        attention=None,
        attempts=bindparam("_attempts"),
        doubts=bindparam("_doubts"),
        refusals=bindparam("_refusals"),
        refused_at=bindparam("_refused_at"),
        retry_at=bindparam("_retry_at"),
        gateway_msg_id=func.coalesce(
            bindparam("_gateway_msg_id", type_=Message.gateway_msg_id.type), Message.gateway_msg_id
        ),
        accepted_at=func.coalesce(bindparam("_accepted_at", type_=Message.accepted_at.type), Message.accepted_at),
        next_check_at=bindparam("_next_check_at"),
        error_code=bindparam("_error_code"),
        error_message=bindparam("_error_message"),
    )
)
#: The ids of an attempt that was ticked or adopted before it was answered; those of another one stay.
_LEARN_ID = (
    update(Message)
    .where(Message.seq == bindparam("_seq"), Message.gateway_msg_id.is_(None))
    .values(
        gateway_msg_id=bindparam("_gateway_msg_id"),
        accepted_at=func.coalesce(Message.accepted_at, bindparam("_accepted_at", type_=Message.accepted_at.type)),
        next_check_at=func.coalesce(
            Message.next_check_at, bindparam("_next_check_at", type_=Message.next_check_at.type)
        ),
    )
)
_PUT_BACK = (
    update(Message)
    .where(
        Message.state == literal_column("'sending'"),
        Message.lease_token == bindparam("token"),
        Message.seq.not_in(bindparam("keep", expanding=True)),
    )
    .values(state=MessageState.QUEUED, lease_token=None, attempts=Message.attempts - 1)
    .returning(Message.seq, Message.channel_id, Message.recipient, Message.first_contact, Message.claimed_at)
)


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What `claim_next` found: messages to POST, and which of the channels are still ours and may send."""

    claims: tuple[Claim, ...]
    sendable: frozenset[int]
    #: Those of them that are mute: what was claimed on them is a single trial.
    probing: frozenset[int]
    #: Still ours, but with nothing to send right now.
    idle: frozenset[int]


def claim_next(
    connection: Connection,
    channel_ids: Collection[int],
    token: str,
    *,
    now: datetime,
    quiet_hours: QuietHours | None = None,
) -> Claims:
    """Claim the next due message of each channel that this run still leases and that is still up.

    At most one a channel, and none beyond its window; a mute channel gets a single message when its next probe is
    due. Never one whose recipient has another under way, so order per recipient holds. What must not go out at this
    hour or on this day is held back, and the one behind it is next. What was refused lets others go first.
    """
    run = {"token": token, "now": now}
    heads = connection.execute(_HEADS, {"ids": list(channel_ids)} | run).all()
    sendable = frozenset(row.id for row in heads if row.state is ChannelState.UP or _probes(row, now))
    probing = frozenset(row.id for row in heads if row.id in sendable and row.state is ChannelState.MUTE)
    free = [row for row in heads if row.id in sendable and (row.has_room or row.id in probing)]
    seqs = [row.seq for row in free if row.seq is not None]
    if not seqs:
        return Claims(claims=(), sendable=sendable, probing=probing, idle=sendable)
    rows, counted = list(connection.execute(_CLAIM_FREE, {"seqs": seqs} | run)), set[int]()
    if len(rows) < len(seqs):
        found, counted = _claim_heedful(connection, {*seqs} - {row.seq for row in rows}, run, quiet_hours)
        rows += found
    ready = make_ready(connection, rows, now=now)
    for reason, moved in (
        ("", [row for row in rows if row.seq not in ready.quote_left_out]),
        (LEFT_OUT, [row for row in rows if row.seq in ready.quote_left_out]),
    ):
        record_moves(connection, moved, at=now, before=MessageState.QUEUED, after=MessageState.SENDING, reason=reason)
    claims = tuple(
        Claim(
            seq=row.seq,
            channel_id=row.channel_id,
            recipient=row.recipient,
            content=ready.contents[row.seq],
            attempt=row.attempts,
            claimed_at=now,
            first_contact=row.seq in counted,
            check_number=row.check_number,
            refusals=row.refusals,
        )
        for row in rows
    )
    claimed = {claim.channel_id for claim in claims}
    return Claims(claims=claims, sendable=sendable, probing=probing, idle=sendable - claimed)


def _claim_heedful(
    connection: Connection, seqs: Collection[int], run: dict[str, Any], quiet_hours: QuietHours | None
) -> tuple[list[Any], set[int]]:
    """Claim those of these heads that may go out now. Where one has to wait, the next one behind it is looked at.

    Returns the rows that were claimed, and which of them count as first contacts.
    """
    claimed: list[Any] = []
    counted: set[int] = set()
    for _ in range(MOST_LOOKS):
        sifted = sift(connection, seqs, quiet_hours=quiet_hours, now=run["now"])
        counted |= sifted.counted
        if sifted.free:
            claimed += connection.execute(_CLAIM, {"seqs": sifted.free} | run)
        if not sifted.held:
            break
        heads = connection.execute(_HEADS, {"ids": list(sifted.held)} | run)
        if not (seqs := [row.seq for row in heads if row.seq is not None]):
            break
    return claimed, counted


def _probes(row: Any, now: datetime) -> bool:
    return row.state is ChannelState.MUTE and row.probe_at is not None and bool(row.probe_at <= now)


_STATE_AFTER = {
    OutcomeKind.ACCEPTED: MessageState.ACCEPTED,
    OutcomeKind.NOT_SENT: MessageState.QUEUED,
    OutcomeKind.REJECTED: MessageState.FAILED,
    OutcomeKind.UNKNOWN: MessageState.IN_DOUBT,
}


def record_outcomes(
    connection: Connection,
    finished: Sequence[Finished],
    token: str,
    *,
    now: datetime,
    worker: str,
    ack_timeout_s: float,
) -> None:
    """Store attempts and move their messages on.

    A message that was put in doubt while its worker was thought dead still takes that worker's late answer, for it is
    evidence. One about which WhatsApp has spoken meanwhile only learns the gateway's id.
    """
    if not finished:
        return
    kept = {row.seq: row for row in connection.execute(_LOCK, {"seqs": [done.claim.seq for done in finished]})}
    finished = [done for done in finished if done.claim.seq in kept and _is_news(done, kept[done.claim.seq])]
    settled: list[dict[str, Any]] = []
    ids_only: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    returned: list[int] = []
    ticked = _ticked_through(connection, [done for done in finished if _is_refused(done)], ack_timeout_s)
    for done in finished:
        row = kept[done.claim.seq]
        ours = row.state is MessageState.SENDING and row.lease_token == token and _is_latest(done, row)
        if ours or _is_late(done, row):
            refusals = _refusals(done, row, ticked)
            given_up = refusals.is_given_up
            after = MessageState.FAILED if given_up else _STATE_AFTER[done.outcome.kind]
            settled.append(_settled(done, row, after, refusals, now, late=not ours))
            if done.outcome.kind is OutcomeKind.NOT_SENT:
                returned.append(row.seq)
            if after is not row.state:
                reason = GIVEN_UP_CODE if given_up else done.outcome.cause
                events.append(_transition(done, row.state, after, reason))
        elif row.state in _DECIDED and done.outcome.gateway_msg_id is not None:
            ids_only.append(
                {
                    "_seq": row.seq,
                    "_gateway_msg_id": done.outcome.gateway_msg_id,
                    "_accepted_at": done.finished_at,
                    "_next_check_at": now + FIRST_CHECK_AFTER,
                }
            )
    if settled:
        connection.execute(_SETTLE, settled)
    if ids_only:
        connection.execute(_LEARN_ID, ids_only)
    record_attempts(connection, [_attempt(done, worker) for done in finished])
    record(connection, events)
    unposted = {*returned, *(done.claim.seq for done in finished if _was_never_posted(done))}
    if unposted:
        not_counting = [done.claim for done in finished if done.claim.seq in unposted and done.claim.first_contact]
        first_contacts.uncount(connection, [(claim.channel_id, claim.claimed_at) for claim in not_counting])
        suppressions.fail_returned(connection, returned, now=now)


#: WhatsApp's word, or a trace of the message, came before WaSender's answer: only the gateway's id is still news.
_DECIDED = frozenset({*TICKED_STATES, MessageState.FAILED, MessageState.EXPIRED, MessageState.ACCEPTED})


def _was_never_posted(done: Finished) -> bool:
    """Refused by what is asked before a POST, such as whether the number exists: nobody has been written to."""
    return done.outcome.kind is OutcomeKind.REJECTED and done.started_at is None


def _is_news(done: Finished, row: Any) -> bool:
    """An attempt that does not count leaves its number to the next claim, so it says nothing once there was one."""
    return done.outcome.kind is not OutcomeKind.NOT_SENT or _is_latest(done, row)


def _is_latest(done: Finished, row: Any) -> bool:
    return bool(row.claimed_at == done.claim.claimed_at)


def _is_late(done: Finished, row: Any) -> bool:
    """Is this the answer to the very attempt whose worker was thought lost? Then it is evidence all the same.

    A message that doubt has put back to the queue meanwhile, and that nobody has claimed since, is called back by a
    late acceptance only, but learns that the attempt does not count.
    """
    if row.attempts != done.claim.attempt:
        return False
    put_back = row.state is MessageState.QUEUED and done.outcome.kind in {OutcomeKind.ACCEPTED, OutcomeKind.NOT_SENT}
    return row.state is MessageState.IN_DOUBT or put_back


def _is_refused(done: Finished) -> bool:
    """Was it refused in a way that speaks of the channel, though nothing else does? Then it may be the message."""
    effect = done.outcome.channel_effect
    of_channel = effect is ChannelEffect.BLOCK or (effect is ChannelEffect.DOWN and not done.channel_is_down)
    return of_channel and done.outcome.kind is OutcomeKind.NOT_SENT


def _ticked_through(
    connection: Connection, refused: Sequence[Finished], ack_timeout_s: float
) -> dict[int, datetime | None]:
    """When the latest-accepted one of the ticked messages was accepted, of each channel of these attempts."""
    if not refused:
        return {}
    rows = connection.execute(_TICKED, {"ids": list({done.claim.channel_id for done in refused})})
    return {
        row.id: ticked_through(row.overtaken_before, row.tick_latency_s, ack_timeout_s=ack_timeout_s) for row in rows
    }


def _refusals(done: Finished, row: Any, ticked: Mapping[int, datetime | None]) -> Refusals:
    """What is to be known of its refusals from now on. What says nothing about the message changes nothing."""
    if done.outcome.kind is not OutcomeKind.NOT_SENT:
        return Refusals()
    known = Refusals.of(row)
    if not _is_refused(done):
        return known
    return known.after_another(done.finished_at, ticked_through=ticked[done.claim.channel_id])


def _settled(
    done: Finished, row: Any, after: MessageState, refusals: Refusals, now: datetime, *, late: bool
) -> dict[str, Any]:
    """What the attempt makes of its message. A refusal because of the channel or the way to it does not count."""
    kind = done.outcome.kind
    failed = after is MessageState.FAILED
    code, sentence = done.outcome.cause.value, done.outcome.sentence
    if refusals.is_given_up:
        code, sentence, refusals = GIVEN_UP_CODE, GIVEN_UP_SENTENCE, Refusals()
    unknown = kind is OutcomeKind.UNKNOWN
    check_after = {OutcomeKind.ACCEPTED: FIRST_CHECK_AFTER, OutcomeKind.UNKNOWN: FIRST_LOOK_AFTER}.get(kind)
    return {
        "_seq": done.claim.seq,
        "_state": after,
        "_attempts": row.attempts - (kind is OutcomeKind.NOT_SENT),
        "_doubts": row.doubts + unknown - late,
        "_refusals": refusals.count,
        "_refused_at": refusals.refused_at,
        "_retry_at": refusals.retry_at,
        "_gateway_msg_id": done.outcome.gateway_msg_id,
        "_accepted_at": done.finished_at if kind is OutcomeKind.ACCEPTED else None,
        "_next_check_at": now + check_after if check_after else None,
        "_error_code": code if failed else None,
        "_error_message": sentence if failed else None,
    }


def _transition(done: Finished, before: MessageState, after: MessageState, reason: str) -> dict[str, Any]:
    evidence: dict[str, Any] = {"attempt": done.claim.attempt}
    if done.outcome.gateway_msg_id is not None:
        evidence["gateway_msg_id"] = done.outcome.gateway_msg_id
    if done.outcome.http_status is not None:
        evidence["http_status"] = done.outcome.http_status
    return event(
        message_seq=done.claim.seq,
        channel_id=done.claim.channel_id,
        at=done.finished_at,
        source=Source.WORKER,
        before=before,
        after=after,
        reason=reason,
        evidence=evidence,
    )


def _attempt(done: Finished, worker: str) -> dict[str, Any]:
    return attempt(
        message_seq=done.claim.seq,
        number=done.claim.attempt,
        started_at=done.started_at,
        finished_at=done.finished_at,
        outcome=done.outcome,
        worker=worker,
    )


def put_back_unposted(connection: Connection, token: str, *, keep: Collection[int], now: datetime) -> int:
    """Put back claims of this run that it never learnt of, because the commit's own answer was lost.

    `keep` names the messages that are with the senders. Returns how many were put back.
    """
    rows = connection.execute(_PUT_BACK, {"token": token, "keep": list(keep)}).all()
    record_moves(
        connection, rows, at=now, before=MessageState.SENDING, after=MessageState.QUEUED, reason="not_started"
    )
    if rows:
        pairs = {(row.channel_id, row.recipient) for row in rows if row.first_contact}
        known = first_contacts.known_to(connection, pairs)
        counted = [row for row in rows if row.first_contact and (row.channel_id, row.recipient) not in known]
        first_contacts.uncount(connection, [(row.channel_id, row.claimed_at) for row in counted])
        suppressions.fail_returned(connection, [row.seq for row in rows], now=now)
    return len(rows)
