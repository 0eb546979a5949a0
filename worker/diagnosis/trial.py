"""A test message: put into the queue like every other one, and followed to WhatsApp's tick for a bounded time.

Between two looks it holds no connection and does nothing. What keeps the message is told by `worker.why`.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from sqlalchemy import Connection, select

from worker import intake
from worker.database import snapshot, transaction
from worker.diagnosis.stages import Stage, stages_of
from worker.domain.channel_state import DEFAULT_CHANNEL, ChannelState
from worker.domain.errors import Conflict, NotFound
from worker.domain.message_request import parse_request
from worker.domain.message_status import TICKED_STATES, MessageState
from worker.domain.phone import normalise_recipient
from worker.models import Message
from worker.outbox.events import Source
from worker.parts import Parts
from worker.why import Explanation, explain

Answer = TypeVar("Answer")
#: Runs one look into the database, and may bound it.
Runner = Callable[[Callable[[], Any]], Any]

TEXT = "This is a test message. If you can read it, messages from this number arrive."
LONGEST_FOLLOWED_S, USUALLY_FOLLOWED_S = 60.0, 25.0
LOOK_EVERY_S = 0.3
#: Once it is ticked, the second tick is waited for this long.
DELIVERY_S = 2.0
#: So long a message is followed although its channel says that it cannot send.
LEAST_FOLLOWED_S = 1.0
#: What could not go out in this time would only surprise its recipient.
EXPIRES_AFTER = timedelta(minutes=5)
_STOPPED = frozenset({ChannelState.DOWN, ChannelState.BLOCKED, ChannelState.PAUSED})
_ENDED = frozenset({MessageState.FAILED, MessageState.EXPIRED, MessageState.CANCELLED})


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """How far a test message came. `proven` only by a tick; else `because`, and what to do."""

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


def begin(
    parts: Parts,
    to: str,
    *,
    channel: str = DEFAULT_CHANNEL,
    text: str = TEXT,
    idempotency_key: str | None = None,
    source: Source,
) -> UUID:
    """Put a test message into the queue, or find the one that the same key put there. Returns its id.

    Raises what `intake.send_request` raises, InvalidNumber and NotFound (of a channel) among them.
    """
    recipient = normalise_recipient(to, parts.settings.default_region).address
    digest = hashlib.sha256("\n".join((recipient, channel, text)).encode()).hexdigest()
    chosen = uuid5(NAMESPACE_URL, f"truetick:test-message:{idempotency_key}") if idempotency_key else uuid4()
    try:
        with transaction(parts.engine) as connection:
            if idempotency_key and _is_same(connection, chosen, digest):
                return chosen
            now = parts.clock()
            given = {
                "to": to,
                "text": text,
                "channel": channel,
                "message_id": chosen,
                "priority": "transactional",
                "expires_at": now + EXPIRES_AFTER,
                # Whoever tests is awake.
                "quiet_hours": False,
                "metadata": {"test_message": digest},
            }
            intake.send_request(parts, connection, parse_request(given), now=now, message_id=chosen, source=source)
    except Conflict:
        # Stored by a parallel request meanwhile; its time to expire is another one.
        with snapshot(parts.engine) as connection:
            if not _is_same(connection, chosen, digest):
                raise
    return chosen


def _is_same(connection: Connection, message_id: UUID, digest: str) -> bool:
    """Is it there? Raises Conflict where the key stands for another test message."""
    kept = connection.execute(select(Message.meta).where(Message.id == message_id)).one_or_none()
    if kept is None:
        return False
    if (kept[0] or {}).get("test_message") != digest:
        raise Conflict("This idempotency key was used before for another test message. Use a new key.")
    return True


def follow(
    parts: Parts,
    message_id: UUID,
    *,
    timeout_s: float = USUALLY_FOLLOWED_S,
    run: Runner = lambda look: look(),
    on_stage: Callable[[tuple[Stage, ...]], None] = lambda _: None,
) -> TrialReport:
    """Look again and again until WhatsApp has ticked it, nothing more can come of it, or the time is over.

    A database that goes away meanwhile is waited for. Raises what the last look raised.
    """
    begun = time.monotonic()
    ends_at, ticked_at = begun + timeout_s, None
    seen: tuple[Stage, ...] = ()
    while True:
        now = time.monotonic()
        try:
            explained, stages = run(lambda: _look(parts, message_id))
        except NotFound:
            raise
        except Exception:
            if now + LOOK_EVERY_S >= ends_at:
                raise
        else:
            if stages != seen:
                seen = stages
                on_stage(stages)
            if explained.message.state in TICKED_STATES:
                ticked_at = ticked_at or now
                ends_at = min(ends_at, ticked_at + DELIVERY_S)
            if _is_over(explained, now - begun) or time.monotonic() + LOOK_EVERY_S >= ends_at:
                return _report(explained, stages, time.monotonic() - begun)
        time.sleep(LOOK_EVERY_S)


def _look(parts: Parts, message_id: UUID) -> tuple[Explanation, tuple[Stage, ...]]:
    with snapshot(parts.engine) as connection:
        now = parts.clock()
        explained = explain(connection, message_id, now=now, check_interval_s=parts.settings.check_interval_s)
        claimed_at: datetime | None = connection.execute(
            select(Message.claimed_at).where(Message.id == message_id)
        ).scalar_one()
    return explained, stages_of(explained.message, claimed_at)


def _is_over(explained: Explanation, followed_s: float) -> bool:
    """Can waiting bring nothing more? It is delivered, it has ended, or only a person can let it go on."""
    message = explained.message
    if message.state in {MessageState.DELIVERED, MessageState.READ} | _ENDED or message.attention is not None:
        return True
    stopped = explained.channel.state in _STOPPED and explained.whose_turn == "person"
    return message.state is MessageState.QUEUED and stopped and followed_s >= LEAST_FOLLOWED_S


def _report(explained: Explanation, stages: tuple[Stage, ...], followed_s: float) -> TrialReport:
    message = explained.message
    proven = message.state in TICKED_STATES
    because = explained.because
    if message.state is MessageState.QUEUED and message.expires_at is not None:
        because += (f"It expires at {message.expires_at:%H:%M:%S} UTC if it cannot go out until then.",)
    return TrialReport(
        message_id=message.id,
        proven=proven,
        stands_at=[stage.name for stage in stages if stage.reached][-1],
        stages=stages,
        because=because,
        whose_turn=explained.whose_turn,
        action=explained.action or _advice(explained),
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
