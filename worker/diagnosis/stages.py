"""The stages on a message's way to WhatsApp's tick, each with the time at which it was reached."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.diagnosis.finding import iso
from worker.outbox.reading import MessageView

TITLES = {
    "understood": "The number is understood",
    "stored": "The message is stored",
    "claimed": "A worker has taken it up",
    "accepted": "WaSender has accepted it",
    "ticked": "WhatsApp has ticked it",
    "delivered": "It is on the recipient's phone",
}
#: What proves that sending works; everything before it is somebody's word.
PROOF = "ticked"


@dataclass(frozen=True, kw_only=True)
class Stage:
    name: str
    #: None: it was not reached.
    at: datetime | None
    #: Since the message was stored.
    after_s: float | None

    @property
    def reached(self) -> bool:
        return self.at is not None

    @property
    def title(self) -> str:
        return TITLES[self.name]

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.name,
            "title": self.title,
            "reached": self.reached,
            "at": iso(self.at) if self.at else None,
            "after_s": self.after_s,
        }


def stages_of(message: MessageView, claimed_at: datetime | None) -> tuple[Stage, ...]:
    """A later stage that is proven stands for those before it: a webhook may know of the tick first."""
    delivered = message.delivered_at or message.read_at
    ticked = message.sent_at or delivered
    accepted = message.accepted_at or ticked
    reached = {
        "understood": message.created_at if message.recipient else None,
        "stored": message.created_at,
        "claimed": claimed_at or accepted,
        "accepted": accepted,
        "ticked": ticked,
        "delivered": delivered,
    }
    return tuple(
        Stage(name=name, at=at, after_s=None if at is None else _since(message.created_at, at))
        for name, at in reached.items()
    )


def _since(stored_at: datetime, at: datetime) -> float:
    return round(max(0.0, (at - stored_at).total_seconds()), 2)
