"""Messages that quote one of ours: what may be quoted, and under which of WaSender's ids it is.

A quote is a part of the content (`reply_to`): our own id of the quoted message when it is stored, WaSender's when it
is posted. The quoted message goes first, because order per recipient holds.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from worker.domain.errors import InvalidRequest
from worker.domain.message_status import TICKED_STATES, MessageState
from worker.models import Message

FIELD = "reply_to"
#: Reason of the event that a message is on its way without the quote that was asked for.
LEFT_OUT = "quote_left_out"

_STORED = select(
    *(Message.id, Message.channel_id, Message.recipient, Message.state, Message.priority, Message.due_at)
).where(Message.id.in_(bindparam("ids", expanding=True)))
#: WhatsApp can show what it has, or will have: an accepted one goes out first.
_QUOTABLE = select(Message.id, Message.channel_id, Message.recipient, Message.gateway_msg_id).where(
    Message.id.in_(bindparam("ids", expanding=True)),
    Message.gateway_msg_id.is_not(None),
    Message.state.in_((MessageState.ACCEPTED, *TICKED_STATES)),
)


class Quotes:
    """What these new messages quote, looked up together."""

    def __init__(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        ids = {named for row in rows if (named := quoted_by(row["content"])) is not None}
        self._asked = ids
        self._known: dict[UUID, Mapping[str, Any]] = (
            {row.id: dict(row._mapping) for row in connection.execute(_STORED, {"ids": list(ids)})} if ids else {}
        )

    def note(self, row: Mapping[str, Any]) -> None:
        """A message of the same batch that later ones may quote."""
        if row["id"] in self._asked:
            self._known[row["id"]] = row

    def refusal(self, row: Mapping[str, Any]) -> InvalidRequest | None:
        """Why a message cannot quote what it wants to; None: it can, or it quotes nothing."""
        named = quoted_by(row["content"])
        if named is None:
            return None
        quoted = self._known.get(named)
        if quoted is None:
            return InvalidRequest(
                f"reply_to: there is no message {named}. A message can quote one that was handed over before it.",
                code="unknown_reply_to",
            )
        if quoted["recipient"] != row["recipient"]:
            return InvalidRequest(
                f"reply_to: message {named} goes to another recipient, who alone can see it quoted.",
                code="reply_to_another_recipient",
            )
        if quoted["channel_id"] != row["channel_id"]:
            return InvalidRequest(
                f"reply_to: message {named} is another channel's, and WhatsApp shows quotes within one chat only. "
                "Name that channel.",
                code="reply_to_another_channel",
            )
        return None

    def keep_behind(self, row: dict[str, Any]) -> None:
        """A message must not overtake the one that it quotes: it gives up an earlier time or a higher rank."""
        quoted = self._known.get(named) if (named := quoted_by(row["content"])) else None
        if quoted is not None and quoted["state"] is MessageState.QUEUED:
            row["due_at"] = max(row["due_at"], quoted["due_at"])
            row["priority"] = max(row["priority"], quoted["priority"])


def quoted_by(content: Mapping[str, Any]) -> UUID | None:
    """The message that a stored content quotes."""
    named = content.get(FIELD)
    return UUID(named) if isinstance(named, str) else None


#: WaSender's ids of quotable messages: by our id, for the chat (channel and recipient) in which they are known.
GatewayIds = Mapping[UUID, Mapping[tuple[int, str], int]]


def gateway_ids(connection: Connection, contents: Iterable[Mapping[str, Any]]) -> GatewayIds:
    """WaSender's ids of what these contents quote."""
    ids = {named for content in contents if (named := quoted_by(content)) is not None}
    if not ids:
        return {}
    return {
        row.id: {(row.channel_id, row.recipient): row.gateway_msg_id}
        for row in connection.execute(_QUOTABLE, {"ids": list(ids)})
    }


def with_gateway_id(content: dict[str, Any], known: GatewayIds, channel_id: int, recipient: str) -> dict[str, Any]:
    """This content with its quote under WaSender's id; without it, where WaSender has none in that chat."""
    if (named := quoted_by(content)) is None:
        return content
    bare = {name: part for name, part in content.items() if name != FIELD}
    gateway_msg_id = known.get(named, {}).get((channel_id, recipient))
    return bare if gateway_msg_id is None else bare | {FIELD: gateway_msg_id}


def is_left_out(stored: Mapping[str, Any], ready: Mapping[str, Any]) -> bool:
    return FIELD in stored and FIELD not in ready
