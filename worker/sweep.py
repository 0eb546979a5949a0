"""The sweep: finds what fell through, because a worker died, a wake-up was lost or a time ran out.

It runs all the time, so what it looks for costs an index probe each where all is well.
"""

from collections import deque
from dataclasses import dataclass
from datetime import timedelta

import structlog

from worker.alarms import sound_alarms
from worker.channels import failover, leases
from worker.database import snapshot, transaction
from worker.outbox import webhook_facts
from worker.outbox.abandoned import channels_left_behind, doubt_abandoned
from worker.outbox.expiry import expire_due
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many messages one transaction expires.
EXPIRY_BATCH = 1000
#: About how many messages one transaction lets other channels take over, and how many such a sweep has at the most.
FAILOVER_BATCH = 200
FAILOVER_BATCHES = 25


@dataclass(frozen=True, kw_only=True)
class Swept:
    doubted: int
    expired: int
    #: A channel has due messages, a slot soon, and no run that serves it.
    wake_drain: bool
    #: What a webhook said is due to be used.
    wake_hearing: bool


def sweep(parts: Parts) -> Swept:
    """One look at everything; cheap when nothing is wrong, harmless when run twice at once."""
    doubted = _doubt(parts)
    expired = _expire(parts)
    failed_over = _fail_over(parts)
    sound_alarms(parts)
    with transaction(parts.engine) as connection:
        webhook_facts.forget_old(connection, parts.clock())
    now = parts.clock()
    # Twice the interval, so that no slot is missed when the next sweep comes a little late.
    horizon = now + timedelta(seconds=2 * parts.settings.sweep_interval_s)
    with snapshot(parts.engine) as connection:
        wake_drain = leases.anything_waiting(connection, now=now, horizon=horizon)
        wake_hearing = webhook_facts.anything_due(connection, now)
    if doubted or expired or failed_over:
        log.warning("swept", doubted=doubted, expired=expired, failed_over=failed_over)
    return Swept(doubted=doubted, expired=expired, wake_drain=wake_drain, wake_hearing=wake_hearing)


def _doubt(parts: Parts) -> int:
    now = parts.clock()
    with snapshot(parts.engine) as connection:
        left_behind = channels_left_behind(connection, now=now)
    if not left_behind:
        return 0
    with transaction(parts.engine) as connection:
        return doubt_abandoned(connection, left_behind, now=now)


def _expire(parts: Parts) -> int:
    expired = 0
    while not parts.stopping.is_set():
        with transaction(parts.engine) as connection:
            batch = expire_due(connection, now=parts.clock(), most=EXPIRY_BATCH)
        expired += batch
        if batch < EXPIRY_BATCH:
            break
    return expired


def _fail_over(parts: Parts) -> int:
    """Let channels of the same pool take over what may go out there, from those that have been out for too long."""
    after = timedelta(seconds=parts.settings.failover_after_s)
    with snapshot(parts.engine) as connection:
        stranded = failover.stranded(connection, now=parts.clock(), after=after)
    moved = 0
    parts.chance.shuffle(stranded)  # one that nothing may leave must not hold up the others time and again
    waiting = deque(stranded)
    for _ in range(FAILOVER_BATCHES):
        if not waiting or parts.stopping.is_set():
            break
        channel_id = waiting.popleft()
        with transaction(parts.engine) as connection:
            batch = failover.move(connection, channel_id, now=parts.clock(), after=after, most=FAILOVER_BATCH)
        moved += batch
        if batch:  # in turn, so that a large queue does not hold up the others
            waiting.append(channel_id)
    return moved
