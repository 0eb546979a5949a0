"""What a person decides about a message: send it again, or let it go."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update

from worker.domain.channel_state import ChannelState
from worker.domain.errors import Conflict, NotFound
from worker.domain.message_status import MessageState
from worker.domain.outcomes import OutcomeKind
from worker.models import Attempt, Channel, Message
from worker.outbox import open_fates, suppressions
from worker.outbox.events import Source, event, record

S = MessageState

_DROPPED = (
    "A person let this message go after an attempt of which nobody knows whether it arrived. "
    "If WhatsApp ticks it after all, that will be shown."
)


def resend(connection: Connection, message_id: UUID, *, now: datetime) -> int:
    """Put a message back into the queue as a new attempt. Returns its channel's id.

    Raises NotFound, and Conflict for one that has arrived, is on its way, or is still being looked into, and for one
    whose recipient wants no messages (`opted_out`).
    """
    row = _row(connection, message_id)
    if row.state not in {S.FAILED, S.EXPIRED} and not _is_a_persons(row):
        raise Conflict(f"Message {message_id} is {row.state.value}. {_not_now(row)}", code="cannot_resend")
    if row.recipient is None:
        raise Conflict(
            f"Message {message_id} has no recipient that could be reached. Correct it in the CRM and send it anew.",
            code="cannot_resend",
        )
    if row.expires_at is not None and row.expires_at <= now:
        raise Conflict(
            f"The time of message {message_id} (expires_at) has run out. Send a new one if it still matters.",
            code="cannot_resend",
        )
    if suppressions.suppressed(connection, [row.recipient]):
        raise Conflict(f"Message {message_id} is not sent again. {suppressions.SENTENCE}", code=suppressions.CODE)
    open_fates.requeue(
        connection, row, row.state, now=now, source=Source.OPERATOR, reason="resent_by_person", resent=True
    )
    channel_id: int = row.channel_id
    return channel_id


def cancel(connection: Connection, message_id: UUID, *, now: datetime) -> MessageState:
    """Withdraw what has not been sent; let go of what may have been. Returns the state it has then.

    What waits to be sent again is let go like a doubt: an attempt before this one may have arrived.
    Raises NotFound, and Conflict for one that has arrived, is on its way, or is still being looked into.
    """
    row = _row(connection, message_id)
    if row.state is S.CANCELLED:
        return S.CANCELLED
    if row.state is S.QUEUED and not _may_have_gone_out(connection, row.seq):
        _cancel_queued(connection, row, now)
        return S.CANCELLED
    if row.state is S.QUEUED or _is_a_persons(row):
        open_fates.fail(
            connection,
            row,
            row.state,
            now=now,
            source=Source.OPERATOR,
            code="dropped_by_person",
            sentence=_DROPPED,
            tick_may_come=True,
        )
        return S.FAILED
    raise Conflict(f"Message {message_id} is {row.state.value}. {_not_now(row)}", code="cannot_cancel")


def _cancel_queued(connection: Connection, row: Any, now: datetime) -> None:
    connection.execute(update(Message).where(Message.seq == row.seq).values(state=S.CANCELLED))
    withdrawn = event(
        message_seq=row.seq,
        channel_id=row.channel_id,
        at=now,
        source=Source.OPERATOR,
        before=S.QUEUED,
        after=S.CANCELLED,
        reason="by a person",
    )
    record(connection, [withdrawn])


def _row(connection: Connection, message_id: UUID) -> Any:
    row = connection.execute(
        select(
            *(Message.seq, Message.channel_id, Message.state, Message.attempts, Message.attention),
            *(Message.recipient, Message.expires_at, Message.claimed_at, Channel.state.label("channel_state")),
        )
        .join(Channel, Channel.id == Message.channel_id)
        .where(Message.id == message_id)
        .with_for_update(of=Message, key_share=True)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no message {message_id}. It may not have been taken from the queue yet.")
    return row


def _may_have_gone_out(connection: Connection, seq: int) -> bool:
    """Has WaSender taken it once, or has an attempt ended without an answer? A refused one proves that it has not."""
    not_disproved = (OutcomeKind.ACCEPTED.value, OutcomeKind.UNKNOWN.value)
    asked = select(Attempt.id).where(Attempt.message_seq == seq, Attempt.outcome.in_(not_disproved)).limit(1)
    return connection.execute(asked).first() is not None


def _is_a_persons(row: Any) -> bool:
    """Is its fate open, and may nothing be found out soon? While its channel is not up, nobody knows when."""
    called = row.attention is not None or row.channel_state is not ChannelState.UP
    return row.state in {S.IN_DOUBT, S.ACCEPTED} and called


def _not_now(row: Any) -> str:
    if row.state in {S.SENT, S.DELIVERED, S.READ}:
        return "WhatsApp has it; nothing can be changed any more."
    if row.state is S.CANCELLED:
        return "It was withdrawn. Send a new one instead."
    if row.state is S.QUEUED:
        return "It goes out by itself."
    return "Truetick is still finding out what became of it; look again in a few minutes."
