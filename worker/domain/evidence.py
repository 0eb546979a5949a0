"""What WaSender says about a message or a channel when asked, in our words.

Unknown words are kept raw and never fatal. Source: the WaSender contract on session and message statuses.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Ack(IntEnum):
    """WhatsApp's acknowledgement codes, as message info and webhooks carry them."""

    ERROR = 0
    PENDING = 1
    SERVER = 2
    DEVICE = 3
    READ = 4
    PLAYED = 5


@dataclass(frozen=True, kw_only=True)
class MessageInfo:
    """The answer of `GET /messages/{msgId}/info`. `ack` None means: no information, never "failed"."""

    ack: Ack | None
    #: WhatsApp's own id of the message (`key.id`), once WaSender knows it.
    whatsapp_key_id: str | None = None
    #: The identity WhatsApp resolved the recipient to (`key.remoteJid`).
    whatsapp_jid: str | None = None
    #: Why there is no information; a short code.
    problem: str | None = None


class Connection(StrEnum):
    CONNECTED = "connected"
    NOT_CONNECTED = "not_connected"
    #: The key or plan is refused.
    REFUSED = "refused"
    #: WaSender could not be asked; says nothing about the channel.
    UNVERIFIED = "unverified"


@dataclass(frozen=True, kw_only=True)
class ConnectionReport:
    """The answer of `GET /status`. `word` is WaSender's own (`need_scan`, `logged_out`…) or a cause code."""

    connection: Connection
    word: str
