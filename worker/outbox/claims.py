"""Claims the next message of each leased channel, and writes down what its attempt proved.

`sending` is committed before a POST begins and the outcome after it ended, so a crash in between is seen as doubt.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import aliased

from worker.domain.channel_state import ChannelState
from worker.domain.message_status import TICKED_STATES, MessageState
from worker.domain.outcomes import Outcome, OutcomeKind
from worker.models import Channel, Message
from worker.outbox.attempts import attempt, record_attempts
from worker.outbox.events import Source, event, record, record_moves

#: How long after its acceptance message info is asked for the first time.
FIRST_CHECK_AFTER = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A message that is ours to POST, once."""

    seq: int
    channel_id: int
    recipient: str
    content: dict[str, Any] = field(repr=False)
    attempt: int


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An attempt that has come to its end. `started_at` is None when no request was begun."""

    claim: Claim
    started_at: datetime | None
    finished_at: datetime
    outcome: Outcome


def _head(priority: int) -> Any:
    """The first message of a channel in one rank whose recipient has no other message in flight."""
    waiting, in_flight = aliased(Message), aliased(Message)
    return (
        select(waiting.seq)
        .where(
            waiting.channel_id == Channel.id,
            waiting.state == literal_column("'queued'"),
            waiting.priority == literal_column(str(priority)),
            waiting.due_at <= bindparam("now"),
            or_(waiting.expires_at.is_(None), waiting.expires_at > bindparam("now")),
            ~exists(
                select(literal_column("1"))
                .select_from(in_flight)
                .where(
                    in_flight.channel_id == Channel.id,
                    in_flight.state == literal_column("'sending'"),
                    in_flight.recipient == waiting.recipient,
                )
                .correlate(Channel, waiting)
            ),
        )
        .order_by(waiting.due_at, waiting.seq)
        .limit(1)
        .correlate(Channel)
        .scalar_subquery()
    )


#: Channel rows stay locked until the turn's commit, so the lease that is seen here holds for the claim.
_HEADS = (
    select(Channel.id, Channel.state, func.coalesce(_head(0), _head(1)).label("seq"))
    .where(Channel.id.in_(bindparam("ids", expanding=True)), Channel.lease_token == bindparam("token"))
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
    .returning(Message.seq, Message.channel_id, Message.recipient, Message.content, Message.attempts)
)
_LOCK = (
    select(Message.seq, Message.state, Message.lease_token, Message.attempts)
    .where(Message.seq.in_(bindparam("seqs", expanding=True)))
    .order_by(Message.seq)
    .with_for_update()
)
_SETTLE = (
    update(Message)
    .where(Message.seq == bindparam("_seq"))
    .values(
        state=bindparam("_state"),
        lease_token=None,
        gateway_msg_id=func.coalesce(
            bindparam("_gateway_msg_id", type_=Message.gateway_msg_id.type), Message.gateway_msg_id
        ),
        accepted_at=func.coalesce(Message.accepted_at, bindparam("_accepted_at", type_=Message.accepted_at.type)),
        next_check_at=bindparam("_next_check_at"),
        error_code=bindparam("_error_code"),
        error_message=bindparam("_error_message"),
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
    .returning(Message.seq, Message.channel_id)
)


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What `claim_next` found: messages to POST, and which of the channels are still ours and may send."""

    claims: tuple[Claim, ...]
    sendable: frozenset[int]
    #: Still ours, but with nothing to send right now.
    idle: frozenset[int]


def claim_next(connection: Connection, channel_ids: Collection[int], token: str, *, now: datetime) -> Claims:
    """Claim the next due message of each channel that this run still leases and that is still up.

    At most one a channel; never one whose recipient has another in flight, so order per recipient holds.
    """
    heads = connection.execute(_HEADS, {"ids": list(channel_ids), "token": token, "now": now}).all()
    sendable = frozenset(row.id for row in heads if row.state is ChannelState.UP)
    seqs = [row.seq for row in heads if row.seq is not None and row.id in sendable]
    if not seqs:
        return Claims(claims=(), sendable=sendable, idle=sendable)
    rows = connection.execute(_CLAIM, {"seqs": seqs, "token": token, "now": now}).all()
    record_moves(connection, rows, at=now, before=MessageState.QUEUED, after=MessageState.SENDING)
    claims = tuple(
        Claim(
            seq=row.seq,
            channel_id=row.channel_id,
            recipient=row.recipient,
            content=row.content,
            attempt=row.attempts,
        )
        for row in rows
    )
    return Claims(claims=claims, sendable=sendable, idle=sendable - {claim.channel_id for claim in claims})


_STATE_AFTER = {
    OutcomeKind.ACCEPTED: MessageState.ACCEPTED,
    OutcomeKind.NOT_SENT: MessageState.QUEUED,
    OutcomeKind.REJECTED: MessageState.FAILED,
    OutcomeKind.UNKNOWN: MessageState.IN_DOUBT,
}


def record_outcomes(
    connection: Connection, finished: Sequence[Finished], token: str, *, now: datetime, worker: str
) -> None:
    """Store attempts and move their messages on.

    A message that was put in doubt while its worker was thought dead still takes that worker's late answer, for it is
    evidence. One that WhatsApp has ticked meanwhile only learns the gateway's id.
    """
    if not finished:
        return
    kept = {row.seq: row for row in connection.execute(_LOCK, {"seqs": [done.claim.seq for done in finished]})}
    finished = [done for done in finished if done.claim.seq in kept]
    updates: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for done in finished:
        row = kept[done.claim.seq]
        ours = row.state is MessageState.SENDING and row.lease_token == token
        late = row.state is MessageState.IN_DOUBT and row.attempts == done.claim.attempt
        after = _STATE_AFTER[done.outcome.kind] if ours or late else row.state
        if after is not row.state:
            events.append(_transition(done, row.state, after))
        ticked_early = row.state in TICKED_STATES and done.outcome.gateway_msg_id is not None
        if ours or late or ticked_early:
            updates.append(_settled(done, after, now))
    if updates:
        connection.execute(_SETTLE, updates)
    record_attempts(connection, [_attempt(done, worker) for done in finished])
    record(connection, events)


def _settled(done: Finished, after: MessageState, now: datetime) -> dict[str, Any]:
    accepted = done.outcome.kind is OutcomeKind.ACCEPTED
    failed = after is MessageState.FAILED
    return {
        "_seq": done.claim.seq,
        "_state": after,
        "_gateway_msg_id": done.outcome.gateway_msg_id,
        "_accepted_at": done.finished_at if accepted else None,
        "_next_check_at": now + FIRST_CHECK_AFTER if accepted else None,
        "_error_code": done.outcome.cause.value if failed else None,
        "_error_message": done.outcome.sentence if failed else None,
    }


def _transition(done: Finished, before: MessageState, after: MessageState) -> dict[str, Any]:
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
        reason=done.outcome.cause,
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
    return len(rows)
