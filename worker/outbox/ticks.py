"""Evidence of delivery: who is to be asked about next, and what WhatsApp's acknowledgements make of a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from worker.domain.evidence import Ack, MessageInfo
from worker.domain.message_status import TICKED_STATES, MessageState, state_after_ack
from worker.domain.retry import backoff_s
from worker.models import Channel, Message
from worker.outbox.events import Source, event, record

#: How long a check may take before another process may ask again.
CHECK_LEASE = timedelta(seconds=60)
#: After this the second tick is no longer waited for: the phone may be off for good, or have receipts off.
STOP_ASKING_AFTER = timedelta(hours=24)
#: The first and the longest pause between two questions about a message, by its state, in seconds.
PAUSES_S = {
    MessageState.ACCEPTED: (2.0, 600.0),
    MessageState.SENT: (4.0, 1800.0),
    MessageState.DELIVERED: (15.0, 3600.0),
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What message info said about one message."""

    seq: int
    info: MessageInfo


def take_due_checks(connection: Connection, *, now: datetime, most: int) -> Sequence[Any]:
    """Messages whose tick is to be asked about, oldest question first; nobody else gets them for a minute.

    Rows: seq, gateway_msg_id, channel_id, api_key_encrypted.
    """
    rows = connection.execute(
        select(Message.seq, Message.gateway_msg_id, Message.channel_id, Channel.api_key_encrypted)
        .join(Channel, Channel.id == Message.channel_id)
        .where(Message.next_check_at <= now, Message.gateway_msg_id.is_not(None))
        .order_by(Message.next_check_at)
        .limit(most)
        .with_for_update(of=Message, skip_locked=True)
    ).all()
    if rows:
        connection.execute(
            update(Message).where(Message.seq.in_([row.seq for row in rows])).values(next_check_at=now + CHECK_LEASE)
        )
    return rows


_LEARN = (
    update(Message)
    .where(Message.seq == bindparam("_seq"))
    .values(
        state=bindparam("_state"),
        whatsapp_key_id=bindparam("_key_id"),
        whatsapp_jid=bindparam("_jid"),
        next_check_at=bindparam("_next_check_at"),
        checks=bindparam("_checks"),
        error_code=bindparam("_error_code"),
        error_message=bindparam("_error_message"),
        sent_at=bindparam("_sent_at"),
        delivered_at=bindparam("_delivered_at"),
        read_at=bindparam("_read_at"),
    )
)


def apply_answers(connection: Connection, answers: Sequence[Answer], *, now: datetime, source: Source) -> int:
    """Move messages by WhatsApp's acknowledgements; forward only. Returns how many moved."""
    if not answers:
        return 0
    infos = {answer.seq: answer.info for answer in answers}
    rows = connection.execute(
        select(Message.__table__).where(Message.seq.in_(infos)).order_by(Message.seq).with_for_update()
    ).all()
    events, updates = [], []
    for row in rows:
        info = infos[row.seq]
        after = (state_after_ack(row.state, info.ack) if info.ack is not None else None) or row.state
        updates.append(_learnt(row, info, after, now))
        if after is not row.state:
            events.append(_transition(row, info, after, now, source))
    connection.execute(_LEARN, updates)
    record(connection, events)
    return len(events)


def _learnt(row: Row[Any], info: MessageInfo, after: MessageState, now: datetime) -> dict[str, Any]:
    moved = after is not row.state
    checks = 0 if moved else row.checks + 1
    failed = after is MessageState.FAILED and moved
    reached = TICKED_STATES.index(after) if after in TICKED_STATES else -1
    return {
        "_seq": row.seq,
        "_state": after,
        "_key_id": info.whatsapp_key_id or row.whatsapp_key_id,
        "_jid": info.whatsapp_jid or row.whatsapp_jid,
        "_next_check_at": _next_check(row, after, checks, now),
        "_checks": checks,
        "_error_code": "whatsapp_error" if failed else None if reached >= 0 else row.error_code,
        "_error_message": (
            "WhatsApp could not deliver this message. Check the number in the CRM; it will not be retried."
            if failed
            else None
            if reached >= 0
            else row.error_message
        ),
        "_sent_at": row.sent_at or (now if reached >= 0 else None),
        "_delivered_at": row.delivered_at or (now if reached >= 1 else None),
        "_read_at": row.read_at or (now if reached >= 2 else None),
    }


def _next_check(row: Row[Any], state: MessageState, checks: int, now: datetime) -> datetime | None:
    if state not in PAUSES_S:
        return None
    if state is not MessageState.ACCEPTED and now - (row.accepted_at or row.created_at) > STOP_ASKING_AFTER:
        return None
    first_s, most_s = PAUSES_S[state]
    return now + timedelta(seconds=backoff_s(checks + 1, first_s=first_s, most_s=most_s))


def _transition(
    row: Row[Any], info: MessageInfo, after: MessageState, now: datetime, source: Source
) -> dict[str, Any]:
    evidence: dict[str, Any] = {"gateway_msg_id": row.gateway_msg_id}
    if info.ack is not None:
        evidence["ack"] = int(info.ack)
    if info.whatsapp_key_id:
        evidence["whatsapp_key_id"] = info.whatsapp_key_id
    return event(
        message_seq=row.seq,
        channel_id=row.channel_id,
        at=now,
        source=source,
        before=row.state,
        after=after,
        reason=Ack(info.ack).name.lower() if info.ack is not None else "",
        evidence=evidence,
    )
