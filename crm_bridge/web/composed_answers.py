"""The shapes of answers that hold several things: lists, bulk answers, changes, and a message with its causes."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crm_bridge.web.answers import Attempt, Channel, Event, Message, Status
from crm_bridge.web.bulk import MOST_MESSAGES
from worker.domain.message_request import SendRequest


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BulkRequest(_Shape):
    """Each message is validated by itself: one that is refused holds up no other."""

    messages: Annotated[list[SendRequest | Any], Field(max_length=MOST_MESSAGES)]


class ItemError(_Shape):
    code: str
    message: str


class RefusedItem(_Shape):
    """`index` is the item's place in the request, from 0."""

    error: ItemError
    index: int


class BulkAnswer(_Shape):
    messages: list[Message | RefusedItem]


class MessageList(_Shape):
    """`next` is the cursor of the next page; null at the end."""

    messages: list[Message]
    next: str | None


class Change(_Shape):
    """What the CRM saw of the message from then on. `seq` is the change's place in the feed."""

    status: Status
    at: datetime
    seq: int


class ChangedMessage(Message):
    change: Change


class MessageChanges(_Shape):
    """`next` is where to go on: the place of the last change told."""

    messages: list[ChangedMessage]
    next: int


class Explanation(_Shape):
    """`because` is the chain of causes, the nearest first. `whose_turn` names who can move the message on.

    While it is queued, `messages_ahead` go out before it (counting stops at 10,000), and `expected_at` is when its
    turn comes at the channel's present pace and nothing holds it back any more; null where nobody can know, as on a
    channel that cannot send, or while a tick is awaited.
    """

    message: Message
    because: list[str]
    whose_turn: Literal["truetick", "wasender", "whatsapp", "recipient", "crm", "person", "nobody"]
    action: str | None
    messages_ahead: int | None
    expected_at: datetime | None
    channel: Channel
    attempts: list[Attempt]
    events: list[Event]


class Channels(_Shape):
    channels: list[Channel]
