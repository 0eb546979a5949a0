"""What a test message proved: how far it came, why no further, and what to do."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from worker.diagnosis.stages import PROOF, Stage
from worker.domain.durations import lasting
from worker.domain.message_status import TICKED_STATES, MessageState
from worker.why import Explanation

#: A message that is followed again, by the same key, proves nothing once its tick is older than this.
PROVES_FOR = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """How far a test message came. `proven` only by a tick of lately; else `because`, and what to do."""

    message_id: UUID
    proven: bool
    #: The last stage that it reached.
    stands_at: str
    stages: tuple[Stage, ...]
    because: tuple[str, ...]
    whose_turn: str
    action: str | None
    followed_s: float
    status: str
    channel: str

    @property
    def summary(self) -> str:
        if self.proven:
            return "Sending is proven: WhatsApp has ticked the test message."
        return f"Sending is not proven. {self.because[0] if self.because else ''}".strip()

    def as_json(self) -> dict[str, Any]:
        return {
            "message_id": str(self.message_id),
            "channel": self.channel,
            "proven": self.proven,
            "summary": self.summary,
            "status": self.status,
            "stands_at": self.stands_at,
            "stages": [stage.as_json() for stage in self.stages],
            "because": list(self.because),
            "whose_turn": self.whose_turn,
            "action": self.action,
            "followed_s": round(self.followed_s, 2),
        }


def report_of(explained: Explanation, stages: tuple[Stage, ...], now: datetime, followed_s: float) -> TrialReport:
    message, because = explained.message, explained.because
    ticked_at = next((stage.at for stage in stages if stage.name == PROOF), None)
    proven = message.state in TICKED_STATES and ticked_at is not None and now - ticked_at <= PROVES_FOR
    action = explained.action or _advice(explained)
    if ticked_at is not None and not proven:
        because = (f"WhatsApp ticked this message {lasting(now - ticked_at)} ago, which tells nothing of now.",)
        action = "Send another one: with another idempotency key, or with none."
    if message.state is MessageState.QUEUED and message.expires_at is not None:
        because += (f"It expires at {message.expires_at:%H:%M:%S} UTC if it cannot go out until then.",)
    return TrialReport(
        message_id=message.id,
        proven=proven,
        stands_at=[stage.name for stage in stages if stage.reached][-1],
        stages=stages,
        because=because,
        whose_turn=explained.whose_turn,
        action=action,
        followed_s=followed_s,
        status=message.status,
        channel=message.channel.name,
    )


def _advice(explained: Explanation) -> str | None:
    """What to do where waiting is all there is to do for the message itself."""
    message = explained.message
    if message.state in TICKED_STATES:
        return None
    if message.state is MessageState.ACCEPTED:
        return (
            "WaSender took it, and WhatsApp has not ticked it: check that the phone behind the channel is online and "
            f"linked. See later: truetick why {message.id}"
        )
    if message.state is MessageState.FAILED:
        return "Mend what is said above, then test again."
    return f"See whether workers run and what the channel waits for: truetick check; truetick why {message.id}"
