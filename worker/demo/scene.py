"""One look at everything the demonstration shows: the messages, the channel, the counts."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from worker.channels.registry import all_channels
from worker.clock import system_clock
from worker.database import snapshot
from worker.demo.contacts import Contact
from worker.demo.verdict import TICKED, Told
from worker.domain.channel_state import ChannelState, remedy
from worker.outbox.reading import Filters, MessageView, list_messages

#: More than there are contacts.
MOST_MESSAGES = 500


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`messages` by the CRM's reference; `channel` is None until the worker has made it."""

    messages: dict[str, MessageView]
    channel: ChannelState | None
    channel_reason: str
    advice: str | None

    @property
    def counts(self) -> Counter[str]:
        return Counter(message.status for message in self.messages.values())

    def told(self, contacts: dict[str, Contact]) -> list[Told]:
        """What Truetick says, for the verdict; a message that it does not know is pending."""
        return [self._told(contact) for contact in contacts.values()]

    def _told(self, contact: Contact) -> Told:
        message = self.messages.get(contact.ref)
        return Told(
            seq=message.seq if message else 0,
            status=message.status if message else "pending",
            recipient=message.recipient if message else None,
            text=contact.text,
            gateway_msg_id=message.gateway_msg_id if message else None,
            should_arrive=contact.should_arrive,
        )

    def settled(self, contacts: dict[str, Contact]) -> bool:
        """Has everything become what it should?"""
        return all(
            (told.status in TICKED) if told.should_arrive else (told.status == "failed")
            for told in self.told(contacts)
        )


def look(engine: Engine, now: datetime | None = None) -> Scene:
    """Read the outbox and the channel, both at one moment."""
    with snapshot(engine) as connection:
        found = list_messages(connection, Filters(), now=now or system_clock(), limit=MOST_MESSAGES)
        channels = all_channels(connection)
    channel = channels[0]._mapping if channels else None
    state = ChannelState(channel["state"]) if channel else None
    reason = channel["reason"] if channel else ""
    return Scene(
        messages={message.crm_ref or "": message for message in found},
        channel=state,
        channel_reason=reason,
        advice=remedy(state, reason, channel["name"]) if state and channel else None,
    )


def explain(message: MessageView) -> str:
    """Why it is pending, the code of its failure, or which ticks it has."""
    if message.error_code:
        return message.error_code
    if message.pending:
        return f"{message.pending.code}: {message.pending.sentence}"
    return {"sent": "✓", "delivered": "✓✓", "read": "✓✓ read"}.get(message.status, "")
