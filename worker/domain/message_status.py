"""Message statuses and the moves between them: the only place that knows which are legal."""

from enum import StrEnum

from worker.domain.errors import IllegalTransition
from worker.domain.evidence import Ack


class MessageState(StrEnum):
    """What is stored. `PUBLIC_STATUS` says what the CRM sees."""

    #: Waits for its time, its channel, its turn.
    QUEUED = "queued"
    #: Claimed by a drain run; a POST may be in flight.
    SENDING = "sending"
    #: WaSender took it; WhatsApp has not ticked it.
    ACCEPTED = "accepted"
    #: The outcome of an attempt is not known.
    IN_DOUBT = "in_doubt"
    #: WhatsApp's server has it (one tick).
    SENT = "sent"
    #: On the recipient's phone (two ticks).
    DELIVERED = "delivered"
    #: Opened, or played.
    READ = "read"
    #: Refused for good, with a reason code and a sentence.
    FAILED = "failed"
    #: Its time ran out before it could be sent.
    EXPIRED = "expired"
    #: Withdrawn before it was sent.
    CANCELLED = "cancelled"


S = MessageState

PENDING_STATES = frozenset({S.QUEUED, S.SENDING, S.ACCEPTED, S.IN_DOUBT})
#: The states that WhatsApp itself has vouched for, in the order in which they may follow each other.
TICKED_STATES = (S.SENT, S.DELIVERED, S.READ)

PUBLIC_STATUS: dict[MessageState, str] = {
    state: "pending" if state in PENDING_STATES else state.value for state in MessageState
}

_TICKS = frozenset(TICKED_STATES)

TRANSITIONS: dict[MessageState, frozenset[MessageState]] = {
    # A message that was put back from doubt may turn out to have been accepted, or even to have arrived.
    S.QUEUED: frozenset({S.SENDING, S.ACCEPTED, S.FAILED, S.EXPIRED, S.CANCELLED}) | _TICKS,
    S.SENDING: frozenset({S.QUEUED, S.ACCEPTED, S.IN_DOUBT, S.FAILED}) | _TICKS,
    S.ACCEPTED: frozenset({S.QUEUED, S.FAILED}) | _TICKS,
    S.IN_DOUBT: frozenset({S.QUEUED, S.ACCEPTED, S.FAILED}) | _TICKS,
    S.SENT: frozenset({S.DELIVERED, S.READ}),
    S.DELIVERED: frozenset({S.READ}),
    S.READ: frozenset(),
    # Only WhatsApp's word or a person's "send it again" leads out of it.
    S.FAILED: frozenset({S.QUEUED}) | _TICKS,
    # Its time stays over, so nobody sends it again.
    S.EXPIRED: _TICKS,
    S.CANCELLED: frozenset(),
}


def check_transition(before: MessageState, after: MessageState) -> None:
    """Raise IllegalTransition unless `before` may become `after` (or stays, with something new known about it)."""
    if after is not before and after not in TRANSITIONS[before]:
        raise IllegalTransition(f"A message that is {before} cannot become {after}.")


_STATE_OF_ACK = {
    Ack.SERVER: S.SENT,
    Ack.DEVICE: S.DELIVERED,
    Ack.READ: S.READ,
    Ack.PLAYED: S.READ,
}


def state_after_ack(before: MessageState, ack: Ack) -> MessageState | None:
    """The state that WhatsApp's acknowledgement leads to, or None where it brings no news.

    Ticks only move forward, so repeated, skipped and reordered ones are harmless. An ERROR fails a message that
    nobody has ticked; it never takes a tick back.
    """
    if ack is Ack.ERROR:
        return S.FAILED if before in {S.SENDING, S.ACCEPTED, S.IN_DOUBT} else None
    after = _STATE_OF_ACK.get(ack)
    return after if after is not None and after in TRANSITIONS[before] else None
