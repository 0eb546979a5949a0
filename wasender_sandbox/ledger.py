"""The truth to compare a client with: every message accepted, and when WhatsApp ticked it.

One entry serves both as the gateway's record (info, logs) and as WhatsApp's (acked_at). About 0.7 KB a message.
"""

import json
from collections.abc import Iterator
from typing import Any

#: WhatsApp's message codes (Baileys' WebMessageInfo).
ERROR, PENDING, SENT, DELIVERED, READ, PLAYED = range(6)

STATUS_WORDS = ("error", "pending", "sent", "delivered", "read", "played")

_KEY_FACTOR = 0x9E3779B97F4A7C15
_KEY_MASK = 0xFFFFFFFFFFFFFFFF


class Entry:
    """One accepted message. Times are Unix seconds, None until it happens; `body` is the JSON text as posted."""

    __slots__ = (
        "ack_index",
        "acked_at",
        "body",
        "channel",
        "channel_id",
        "deleted",
        "delivered_at",
        "edited_text",
        "failed_reason",
        "index",
        "kind",
        "msg_id",
        "read_at",
        "received_at",
        "recipient",
        "recipient_jid",
        "request_at",
        "status",
        "to",
        "updated_at",
    )

    def __init__(
        self,
        *,
        index: int,
        msg_id: int,
        channel: str,
        channel_id: int,
        to: str,
        recipient: str,
        recipient_jid: str,
        kind: str,
        body: str,
        request_at: float,
        received_at: float,
    ) -> None:
        self.index = index
        self.msg_id = msg_id
        self.channel = channel
        self.channel_id = channel_id
        self.to = to
        self.recipient = recipient
        self.recipient_jid = recipient_jid
        self.kind = kind
        self.body = body
        self.request_at = request_at
        self.received_at = received_at
        self.updated_at = received_at
        self.status = PENDING
        self.acked_at: float | None = None
        self.delivered_at: float | None = None
        self.read_at: float | None = None
        self.ack_index: int | None = None
        self.failed_reason: str | None = None
        self.edited_text: str | None = None
        self.deleted = False

    @property
    def key_id(self) -> str:
        """WhatsApp's id of the message: a bijection of msgId, so that nothing needs to be stored."""
        return f"3EB0{(self.msg_id * _KEY_FACTOR) & _KEY_MASK:016X}"

    @property
    def log_status(self) -> str:
        """`in_progress`, `sent` or `failed`, as message logs say it."""
        if self.status == ERROR:
            return "failed"
        return "in_progress" if self.status == PENDING else "sent"

    @property
    def payload(self) -> dict[str, Any]:
        posted: dict[str, Any] = json.loads(self.body)
        return posted

    @property
    def text(self) -> str | None:
        text = self.payload.get("text")
        return text if isinstance(text, str) else None

    def to_json(self) -> dict[str, Any]:
        payload = self.payload
        return {
            "index": self.index,
            "ack_index": self.ack_index,
            "msg_id": self.msg_id,
            "key_id": self.key_id,
            "channel": self.channel,
            "to": self.to,
            "recipient": self.recipient,
            "kind": self.kind,
            "text": payload.get("text"),
            "payload": payload,
            "status": self.status,
            "log_status": self.log_status,
            "failed_reason": self.failed_reason,
            "request_at": self.request_at,
            "received_at": self.received_at,
            "acked_at": self.acked_at,
            "delivered_at": self.delivered_at,
            "read_at": self.read_at,
            "edited_text": self.edited_text,
            "deleted": self.deleted,
        }


class Ledger:
    """All accepted messages in order of acceptance, and by msgId."""

    #: msgIds are WaSender-global and well beyond small integers.
    FIRST_MSG_ID = 58_224_349

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._by_msg_id: dict[int, Entry] = {}
        self._next_msg_id = self.FIRST_MSG_ID
        self.acked = 0

    def next_msg_id(self) -> int:
        """A new id; other customers' messages leave gaps between ours."""
        self._next_msg_id += 1 + (len(self.entries) * 7) % 13
        return self._next_msg_id

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._by_msg_id[entry.msg_id] = entry

    def find(self, msg_id: int) -> Entry | None:
        return self._by_msg_id.get(msg_id)

    def select(
        self,
        *,
        after: int = -1,
        channel: str | None = None,
        to: str | None = None,
        recipient: str | None = None,
        msg_id: int | None = None,
        text: str | None = None,
        acked: bool | None = None,
    ) -> Iterator[Entry]:
        """Entries with index > `after` that match every given filter (`text`: contained in the posted text)."""
        for position in range(after + 1, len(self.entries)):
            entry = self.entries[position]
            if (
                (channel is None or entry.channel == channel)
                and (to is None or entry.to == to)
                and (recipient is None or entry.recipient == recipient)
                and (msg_id is None or entry.msg_id == msg_id)
                and (text is None or text in (entry.text or ""))
                and (acked is None or (entry.acked_at is not None) == acked)
            ):
                yield entry
