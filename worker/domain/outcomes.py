"""What an attempt proved, and what follows from it for the message and for its channel.

The cause decides the policy; `OUTCOME_RULES` is the one table that says how.
"""

from dataclasses import dataclass
from enum import StrEnum


class OutcomeKind(StrEnum):
    #: WaSender took the message and named it (2xx, success, msgId). It is pending until WhatsApp ticks it.
    ACCEPTED = "accepted"
    #: Proven that WaSender did not take it. The message goes back to its place in the queue.
    NOT_SENT = "not_sent"
    #: Refused for good, for a reason that lies in the message itself.
    REJECTED = "rejected"
    #: Nobody knows. The message is in doubt.
    UNKNOWN = "unknown"


class ChannelEffect(StrEnum):
    #: Says nothing about the channel.
    NONE = "none"
    #: WaSender is slow, broken or out of reach: try again later, with backoff.
    BACK_OFF = "back_off"
    #: WaSender told us to wait.
    THROTTLE = "throttle"
    #: The session behind the channel may be gone: confirm by its status.
    DOWN = "down"
    #: Nothing can be sent until a person mends the key, the plan or the address.
    BLOCK = "block"


class Cause(StrEnum):
    """Stable reason codes of an attempt; they stand in attempts, events and JSON."""

    ACCEPTED = "accepted"
    #: DNS, refused, TLS or connect timeout: the request was never written.
    UNREACHABLE = "gateway_unreachable"
    #: After trouble WaSender is asked a question first, and did not answer it: nothing was posted.
    STILL_TROUBLED = "gateway_troubled"
    #: The worker gave the attempt up before it wrote anything (its lease had run out, or it was stopping).
    NOT_STARTED = "not_started"
    THROTTLED = "throttled"
    CHANNEL_DOWN = "channel_down"
    BAD_KEY = "bad_key"
    WRONG_CREDENTIAL = "wrong_credential"
    NO_SUBSCRIPTION = "no_subscription"
    #: 404 or a redirect on the send endpoint: the base URL is wrong, not the message.
    WRONG_ADDRESS = "wrong_gateway_address"
    NOT_ON_WHATSAPP = "not_on_whatsapp"
    MALFORMED_RECIPIENT = "malformed_recipient"
    INVALID_REQUEST = "gateway_refused_request"
    REFUSED = "gateway_refused"
    #: The file that it carries: WaSender would not take it, could not be given it, or we no longer have it.
    MEDIA_REFUSED = "media_refused"
    MEDIA_NOT_UPLOADED = "media_not_uploaded"
    MEDIA_GONE = "media_gone"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    SERVER_ERROR = "gateway_error"
    UNREADABLE_ANSWER = "unreadable_answer"
    #: The process that sent it died before it could write down the answer.
    WORKER_LOST = "worker_lost"


@dataclass(frozen=True)
class OutcomeRule:
    kind: OutcomeKind
    channel_effect: ChannelEffect
    #: For the person who asks why. Completes "This message …" for rejected ones, stands alone otherwise.
    sentence: str


OUTCOME_RULES: dict[Cause, OutcomeRule] = {
    Cause.ACCEPTED: OutcomeRule(
        OutcomeKind.ACCEPTED, ChannelEffect.NONE, "WaSender took the message; WhatsApp has not ticked it yet."
    ),
    Cause.UNREACHABLE: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.BACK_OFF,
        "WaSender could not be reached, so nothing was sent. It is tried again by itself; "
        "check the network and WASENDER_BASE_URL if it lasts.",
    ),
    Cause.STILL_TROUBLED: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.BACK_OFF,
        "WaSender was in trouble and did not answer a question either, so nothing was sent. "
        "It is tried again by itself.",
    ),
    Cause.NOT_STARTED: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.NONE,
        "The worker stopped before it sent anything; it is tried again by itself.",
    ),
    Cause.THROTTLED: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.THROTTLE,
        "WaSender asked to slow down, so nothing was sent. It is tried again by itself; "
        "if it happens often, lower TRUETICK_PACE.",
    ),
    Cause.CHANNEL_DOWN: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.DOWN,
        "WaSender says the WhatsApp session is not connected, so nothing was sent. "
        "It goes out by itself once the session is back.",
    ),
    Cause.BAD_KEY: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.BLOCK,
        "WaSender does not know this channel's API key. Correct the key; the message waits.",
    ),
    Cause.WRONG_CREDENTIAL: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.BLOCK,
        "WaSender got the wrong kind of credential (a session key where a personal access token belongs, "
        "or the reverse). Correct the channel's key; the message waits.",
    ),
    Cause.NO_SUBSCRIPTION: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.BLOCK,
        "The WaSender account has no active subscription or has reached a limit of its plan. "
        "Renew it at WaSender; the message waits.",
    ),
    Cause.WRONG_ADDRESS: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.BLOCK,
        "Nothing at WASENDER_BASE_URL answers to send-message. Correct the address; the message waits.",
    ),
    Cause.NOT_ON_WHATSAPP: OutcomeRule(
        OutcomeKind.REJECTED,
        ChannelEffect.NONE,
        "The number is not on WhatsApp. Correct it in the CRM; it will not be retried.",
    ),
    Cause.MALFORMED_RECIPIENT: OutcomeRule(
        OutcomeKind.REJECTED,
        ChannelEffect.NONE,
        "WaSender does not accept this recipient. Correct it in the CRM; it will not be retried.",
    ),
    Cause.INVALID_REQUEST: OutcomeRule(
        OutcomeKind.REJECTED,
        ChannelEffect.NONE,
        "WaSender refused the content of this message. Correct it in the CRM; it will not be retried.",
    ),
    Cause.REFUSED: OutcomeRule(
        OutcomeKind.REJECTED,
        ChannelEffect.NONE,
        "WaSender refused this message. Its own words stand in the last attempt; it will not be retried.",
    ),
    Cause.MEDIA_REFUSED: OutcomeRule(
        OutcomeKind.REJECTED,
        ChannelEffect.NONE,
        "WaSender does not take the file of this message, so nothing was sent. Its own words stand in the last "
        "attempt; send the file in another form. It will not be retried.",
    ),
    Cause.MEDIA_NOT_UPLOADED: OutcomeRule(
        OutcomeKind.NOT_SENT,
        ChannelEffect.BACK_OFF,
        "The file of this message could not be uploaded to WaSender, so nothing was sent. "
        "It is tried again by itself.",
    ),
    Cause.MEDIA_GONE: OutcomeRule(
        OutcomeKind.REJECTED,
        ChannelEffect.NONE,
        "The file of this message is no longer there, so nothing was sent. Hand it over again and send anew.",
    ),
    Cause.TIMEOUT: OutcomeRule(
        OutcomeKind.UNKNOWN,
        ChannelEffect.BACK_OFF,
        "WaSender did not answer in time, so it may or may not have taken the message.",
    ),
    Cause.CONNECTION_LOST: OutcomeRule(
        OutcomeKind.UNKNOWN,
        ChannelEffect.BACK_OFF,
        "The connection broke before WaSender had answered, so it may or may not have taken the message.",
    ),
    Cause.SERVER_ERROR: OutcomeRule(
        OutcomeKind.UNKNOWN,
        ChannelEffect.BACK_OFF,
        "WaSender answered with an error of its own, so it may or may not have taken the message.",
    ),
    Cause.UNREADABLE_ANSWER: OutcomeRule(
        OutcomeKind.UNKNOWN,
        ChannelEffect.BACK_OFF,
        "WaSender's answer could not be understood, so it may or may not have taken the message.",
    ),
    Cause.WORKER_LOST: OutcomeRule(
        OutcomeKind.UNKNOWN,
        ChannelEffect.NONE,
        "The worker was stopped while it was sending, so WaSender may or may not have taken the message.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One attempt's result. `detail` is WaSender's own text, bounded and free of credentials."""

    cause: Cause
    detail: str = ""
    http_status: int | None = None
    gateway_msg_id: int | None = None
    #: Seconds WaSender asked us to wait (`throttled` only); None when it did not say.
    retry_after_s: float | None = None

    @property
    def kind(self) -> OutcomeKind:
        return OUTCOME_RULES[self.cause].kind

    @property
    def channel_effect(self) -> ChannelEffect:
        return OUTCOME_RULES[self.cause].channel_effect

    @property
    def sentence(self) -> str:
        return OUTCOME_RULES[self.cause].sentence
