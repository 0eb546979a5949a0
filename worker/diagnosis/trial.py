"""A test message: put into the queue like every other one, and followed to WhatsApp's tick for a bounded time.

Between two looks it holds no connection and does nothing. What keeps the message is told by `worker.why`.
"""

import hashlib
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from sqlalchemy import Connection, select

from worker import intake
from worker.channels import registry
from worker.database import snapshot, transaction
from worker.diagnosis.stages import Stage, stages_of
from worker.diagnosis.trial_report import TrialReport, report_of
from worker.domain.channel_state import DEFAULT_CHANNEL, NO_API_KEY, ChannelState
from worker.domain.errors import Conflict, NotFound
from worker.domain.message_request import parse_request
from worker.domain.message_status import TICKED_STATES, MessageState
from worker.domain.phone import normalise_recipient
from worker.models import Message
from worker.outbox import reading
from worker.outbox.events import Source
from worker.outbox.reading import MessageView
from worker.parts import Parts
from worker.why import explain

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


def begin(
    parts: Parts,
    to: str,
    *,
    channel: str | None = None,
    text: str = TEXT,
    idempotency_key: str | None = None,
    source: Source,
) -> UUID:
    """Put a test message into the queue, or find the one that the same key put there. Returns its id.

    Without a channel it takes the default one, or the only one that there is to send by. Raises what
    `intake.send_request` raises, InvalidNumber and NotFound (of a channel) among them.
    """
    recipient = normalise_recipient(to, parts.settings.default_region).address
    digest = hashlib.sha256(json.dumps((recipient, channel, text)).encode()).hexdigest()
    chosen = uuid5(NAMESPACE_URL, f"truetick:test-message:{idempotency_key}") if idempotency_key else uuid4()
    try:
        with transaction(parts.engine) as connection:
            if idempotency_key and _is_same(connection, chosen, digest):
                return chosen
            now = parts.clock()
            given = {
                "to": to,
                "text": text,
                "channel": channel or _usual_channel(connection, parts),
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


def _usual_channel(connection: Connection, parts: Parts) -> str:
    rows = registry.all_channels(connection)
    keyed = [row.name for row in rows if row.api_key_encrypted is not None]
    # Nobody knows of a key for the default channel: neither this process, nor a worker that looked for it.
    keyless = all(row.name != DEFAULT_CHANNEL or row.reason == NO_API_KEY for row in rows)
    if parts.settings.gateway_api_key is None and keyless and len(keyed) == 1:
        return str(keyed[0])
    return DEFAULT_CHANNEL


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
    ends_at = begun + timeout_s
    seen: tuple[Stage, ...] = ()
    report: TrialReport | None = None
    while report is None:
        now = time.monotonic()
        stages = seen
        try:
            message, stages = run(lambda: _look(parts, message_id))
            if message.state in TICKED_STATES and stages != seen:
                ends_at = min(ends_at, now + DELIVERY_S)
            if _is_over(message, now - begun) or time.monotonic() + LOOK_EVERY_S >= ends_at:
                report = run(lambda: _explained(parts, message_id, begun))
                stages = report.stages
        except NotFound:
            raise
        except Exception:
            if now + LOOK_EVERY_S >= ends_at:
                raise
        if stages != seen:
            seen = stages
            on_stage(stages)
        if report is None:
            time.sleep(LOOK_EVERY_S)
    return report


def _look(parts: Parts, message_id: UUID) -> tuple[MessageView, tuple[Stage, ...]]:
    """Nothing but the message's own row and its channel's, for this is asked several times a second."""
    with snapshot(parts.engine) as connection:
        message = reading.get(connection, message_id, parts.clock())
        return message, _stages(connection, message)


def _stages(connection: Connection, message: MessageView) -> tuple[Stage, ...]:
    claimed_at: datetime | None = connection.execute(
        select(Message.claimed_at).where(Message.seq == message.seq)
    ).scalar_one()
    return stages_of(message, claimed_at)


def _is_over(message: MessageView, followed_s: float) -> bool:
    """Can waiting bring nothing more? It is delivered, it has ended, or only a person can let it go on."""
    if message.state in {MessageState.DELIVERED, MessageState.READ} | _ENDED or message.attention is not None:
        return True
    stopped = message.channel.state in _STOPPED and message.channel.reason != "connecting"
    return message.state is MessageState.QUEUED and stopped and followed_s >= LEAST_FOLLOWED_S


def _explained(parts: Parts, message_id: UUID, begun: float) -> TrialReport:
    with snapshot(parts.engine) as connection:
        now = parts.clock()
        explained = explain(connection, message_id, now=now, check_interval_s=parts.settings.check_interval_s)
        stages = _stages(connection, explained.message)
    return report_of(explained, stages, now, time.monotonic() - begun)
