"""Finds the attempt that a webhook is about: by WaSender's id, by WhatsApp's, or by recipient and content.

What fits several messages fits none: a wrong match would call a message sent that was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, literal_column, or_, select

from worker.domain.evidence import Ack
from worker.domain.message_status import MessageState
from worker.domain.outcomes import OutcomeKind
from worker.domain.text_digest import digest_of_content
from worker.domain.webhook_fact import SendFailed, SentSeen
from worker.models import Attempt, Message
from worker.outbox.ticks import attempts_by_key

#: A webhook about a message comes within seconds; one that was held up may take hours.
LONGEST_WAY = timedelta(hours=24)
#: How many of a recipient's latest attempts are looked through.
MOST_CANDIDATES = 50

_ROW = (
    *(Message.seq, Message.channel_id, Message.state, Message.attempts, Message.claimed_at, Message.content),
    *(Attempt.id.label("attempt_id"), Attempt.number, Attempt.finished_at, Attempt.gateway_msg_id),
)


@dataclass(frozen=True, kw_only=True)
class Match:
    #: Message and attempt (seq, channel_id, state, attempts, claimed_at, attempt_id, number, finished_at,
    #: gateway_msg_id); None: nothing fits.
    row: Any = None
    #: Several fit, or one that is being sent may: the answer will be known later.
    unclear: bool = False


def match_sent(connection: Connection, channel_id: int, fact: SentSeen, *, received_at: datetime) -> Match:
    """Which attempt does "a message went out from this number" mean?"""
    if fact.gateway_msg_id is not None:
        named = _by_gateway_id(connection, channel_id, fact.gateway_msg_id)
        if named is not None:
            return Match(row=named)
    known = attempts_by_key(connection, channel_id, [fact.whatsapp_key_id]).get(fact.whatsapp_key_id)
    if known is not None:
        return Match(row=connection.execute(_attempts().where(Attempt.id == known)).one_or_none())
    if fact.recipient is None or fact.text_digest is None:
        return Match()
    fitting = [
        row
        for row in _nameless(connection, channel_id, fact.recipient, received_at)
        if digest_of_content(row.content) == fact.text_digest
        # One that WaSender has given another id is another one.
        and (fact.gateway_msg_id is None or row.gateway_msg_id is None)
    ]
    sending = connection.execute(
        select(Message.content).where(
            Message.channel_id == channel_id,
            Message.recipient == fact.recipient,
            Message.state == literal_column("'sending'"),
        )
    ).scalars()
    under_way = any(digest_of_content(content) == fact.text_digest for content in sending)
    # Several attempts of one message leave no doubt about the message; the latest is the likeliest.
    if under_way or len({row.seq for row in fitting}) > 1:
        return Match(unclear=True)
    return Match(row=fitting[0] if fitting else None)


def match_failed(connection: Connection, channel_id: int, fact: SendFailed, *, received_at: datetime) -> Match:
    """Which attempt does "this could not be sent" mean?

    With the number alone it must be the only one to it that was under way when this was heard. One that has failed in
    the meantime counts, too, for webhooks come twice.
    """
    if fact.gateway_msg_id is not None:
        return Match(row=_by_gateway_id(connection, channel_id, fact.gateway_msg_id))
    if fact.recipient is None:
        return Match()
    candidates = connection.execute(
        select(Message.seq, Message.state, Message.attempts)
        # One that is being sent has no stored attempt yet, but it may be the one.
        .outerjoin(Attempt, and_(Attempt.message_seq == Message.seq, Attempt.number == Message.attempts))
        .where(
            Message.channel_id == channel_id,
            Message.recipient == fact.recipient,
            Message.claimed_at <= received_at,
            or_(
                Message.state.in_((MessageState.SENDING, MessageState.ACCEPTED, MessageState.IN_DOUBT)),
                and_(
                    Message.state == MessageState.FAILED,
                    Attempt.ack == int(Ack.ERROR),
                    Attempt.finished_at >= received_at - LONGEST_WAY,
                ),
            ),
        )
        .limit(2)
    ).all()
    if len(candidates) != 1 or candidates[0].state is not MessageState.ACCEPTED:
        return Match()
    (only,) = candidates
    latest = _attempts().where(Attempt.message_seq == only.seq, Attempt.number == only.attempts)
    return Match(row=connection.execute(latest).one_or_none())


def _attempts() -> Any:
    return select(*_ROW).join(Message, Message.seq == Attempt.message_seq)


def _by_gateway_id(connection: Connection, channel_id: int, gateway_msg_id: int) -> Any:
    return connection.execute(
        _attempts().where(Attempt.gateway_msg_id == gateway_msg_id, Message.channel_id == channel_id).limit(1)
    ).one_or_none()


def _nameless(connection: Connection, channel_id: int, recipient: str, received_at: datetime) -> Sequence[Any]:
    """The recipient's attempts that may have gone out and that WhatsApp's id is not known of, the latest first."""
    went_out = Attempt.outcome.in_((OutcomeKind.ACCEPTED.value, OutcomeKind.UNKNOWN.value))
    rows: Sequence[Any] = connection.execute(
        _attempts()
        .where(
            Message.recipient == recipient,
            Message.channel_id == channel_id,
            and_(went_out, Attempt.whatsapp_key_id.is_(None)),
            Attempt.finished_at >= received_at - LONGEST_WAY,
            or_(Attempt.started_at.is_(None), Attempt.started_at <= received_at),
        )
        .order_by(Message.seq.desc(), Attempt.number.desc())
        .limit(MOST_CANDIDATES)
    ).all()
    return rows
