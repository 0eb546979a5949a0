"""What the control API hands out, as types: entries of the ledger and recorded sends."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One message the gateway accepted. Times are Unix seconds; None means it has not happened.

    `acked_at` is WhatsApp's own acknowledgement (code 2): only then does WhatsApp have the message.
    `index` counts acceptances, `ack_index` acknowledgements; both from 0.
    """

    index: int
    ack_index: int | None
    msg_id: int
    key_id: str
    channel: str
    to: str
    #: `+digits` for a person, else the JID as given.
    recipient: str
    kind: str
    text: str | None
    payload: dict[str, Any]
    status: int
    log_status: str
    failed_reason: str | None
    #: When the POST arrived, when it was accepted.
    request_at: float
    received_at: float
    acked_at: float | None
    delivered_at: float | None
    read_at: float | None
    edited_text: str | None
    deleted: bool

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """One POST to /send-message. Times are Unix seconds.

    `decision` is accepted, refused, or pending while the request is under way. `reason` says why it was refused:
    auth, subscription, throttle, daily_cap, concurrency, validation, not_connected, not_connected_spurious,
    own_number, not_on_whatsapp, media, client_left; or `fault:<kind>`, which strikes accepted sends too.
    `answer` is the HTTP status the client saw, 0 when it saw none.
    """

    index: int
    arrived_at: float
    answered_at: float | None
    channel: str
    to: str
    #: Normalised, once accepted.
    recipient: str
    decision: str
    reason: str
    msg_id: int | None
    answer: int
    #: Sends of this channel under way when this one arrived, itself included.
    in_flight: int

    @property
    def accepted(self) -> bool:
        return self.decision == "accepted"

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        return cls(**{field.name: row[field.name] for field in fields(cls)})
