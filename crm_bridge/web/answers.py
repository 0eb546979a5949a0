"""The shapes of the API's answers, for its description and for the tests that hold the answers against them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

Status = Literal["pending", "sent", "delivered", "read", "failed", "expired", "cancelled"]
State = Literal[
    "queued", "sending", "accepted", "in_doubt", "sent", "delivered", "read", "failed", "expired", "cancelled"
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MessageError(_Shape):
    code: str
    message: str


class Message(_Shape):
    """`status` is what a CRM needs; `state` and `pending_reason` say more about a pending one.

    `attention` is set when a person has to decide. `duplicates` counts how often WhatsApp ticked it beyond the first.
    """

    id: UUID
    status: Status
    state: State
    pending_reason: str | None
    to: str
    recipient: str | None
    whatsapp_jid: str | None
    channel: str
    kind: str
    priority: Literal["transactional", "bulk"]
    attempts: int
    resends: int
    duplicates: int
    attention: str | None
    gateway_msg_id: int | None
    error: MessageError | None
    send_after: datetime
    expires_at: datetime | None
    created_at: datetime
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    crm_ref: str | None
    metadata: dict[str, Any] | None


class Attempt(_Shape):
    """One POST to WaSender, with what it proved."""

    number: int
    started_at: datetime | None
    finished_at: datetime
    outcome: Literal["accepted", "not_sent", "rejected", "unknown"]
    cause: str
    http_status: int | None
    gateway_msg_id: int | None
    detail: str


class Event(_Shape):
    """One change of state, with who learnt of it and what proves it."""

    at: datetime
    source: str
    before: State | None
    after: State
    reason: str
    evidence: dict[str, Any] | None


class MessageWithHistory(Message):
    attempt_log: list[Attempt]
    events: list[Event]


class Rates(_Shape):
    """Of the messages that WaSender accepted in this time: how many WhatsApp has ticked, and had delivered, by now.

    `failed` counts those that failed in this time. Seconds from acceptance to the first tick: half of the messages,
    and 95 of 100, took no longer. `partial`: there were more, and the newest speak for the rest.
    """

    accepted: int
    sent: int
    delivered: int
    failed: int
    tick_median_s: float | None
    tick_p95_s: float | None
    per_minute: float
    partial: bool


class ChannelRates(_Shape):
    hour: Rates
    day: Rates


class Channel(_Shape):
    """`verified` is false when WaSender has not confirmed the state lately (last at `verified_at`); a channel that
    was up then is `unverified`, and `last_known_state` says what it was. `action` is what a person should do.

    `flowing` is false, too, when the channel is up but WaSender answers badly or asked to wait, or the day's cap is
    used up, as `note` says. `slowdown` is above 1 while refusals as "too many" slow the channel down. Channels of one
    `pool` may stand in for each other.
    """

    name: str
    pool: str | None
    state: Literal["unverified", "unknown", "up", "down", "mute", "blocked", "paused"]
    last_known_state: Literal["unknown", "up", "down", "mute", "blocked", "paused"]
    reason: str
    since: datetime
    checked_at: datetime | None
    verified: bool
    verified_at: datetime | None
    flowing: bool
    pending: int
    unacked: int
    in_doubt: int
    attention: int
    unacked_window: int
    last_tick_at: datetime | None
    ticks_by_webhook: int
    ticks_by_asking: int
    webhooks: Literal["never", "arriving", "stopped"]
    last_webhook_at: datetime | None
    pace: str
    slowdown: float
    daily_cap: int | None
    posts_today: int
    first_contact_cap: int | None
    first_contacts_today: int
    action: str | None
    note: str | None
    #: In the status alone.
    rates: ChannelRates | None = None


class WhatsappStatus(_Shape):
    """All channels and their sums. `all_up` (states) and `all_flowing` (messages) leave out a channel without a key
    that no message waits for."""

    channels: list[Channel]
    all_up: bool
    all_flowing: bool
    pending: int
    unacked: int
    in_doubt: int
    attention: int


class Webhook(BaseModel):
    """What WaSender sends. What its events mean is WaSender's to describe."""

    model_config = ConfigDict(extra="allow")

    event: str


class Received(_Shape):
    received: Literal[True]


class Alive(_Shape):
    status: Literal["alive"]


class Check(_Shape):
    name: Literal["database", "broker"]
    ok: bool
    detail: str


class Ready(_Shape):
    status: Literal["ready"]
    checks: list[Check]


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `detail` is for people."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    code: str
