"""Questions to WaSender that are under way: about many channels at once, of each channel one at a time.

WaSender rejects more than a few requests at once on one session, and sending needs most of them. What is asked about
next, and what an answer means, is not decided here.
"""

import queue
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import structlog
from pydantic import SecretStr
from sqlalchemy import Row

from worker.domain.errors import NotConfigured
from worker.outbox.ticks import NOT_ANSWERED, Tick
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many channels are asked about at once: a thousand slow ones need some hundred answers a second.
ASKERS = 64
#: How many attempts may wait for their answers: of one channel, no more than can be answered within a check lease.
MOST = 192
#: While questions are under way, answers are gathered this long so that they share one commit.
LINGER_S = 0.1


class Questions:
    """All methods belong to the run's own thread; its threads only ask. Leaving it awaits what is under way."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pool = ThreadPoolExecutor(ASKERS, thread_name_prefix="info")
        self._answers: queue.SimpleQueue[tuple[int, Tick | None]] = queue.SimpleQueue()
        #: What waits behind the question that is under way, by channel.
        self._waiting: dict[int, deque[Row[Any]]] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    @property
    def room(self) -> int:
        """How many more attempts may be asked about. A message of which several were taken can have made it more."""
        return max(0, MOST - self._count)

    def __bool__(self) -> bool:
        """Is an answer still to come?"""
        return bool(self._waiting)

    def ask(self, rows: Iterable[Row[Any]]) -> None:
        """Ask about these attempts (rows of `take_due_checks`), in their order on each channel."""
        for row in rows:
            self._count += 1
            if row.channel_id in self._waiting:
                self._waiting[row.channel_id].append(row)
            else:
                self._waiting[row.channel_id] = deque()
                self._pool.submit(self._work, row)

    def answers(self, wait_s: float) -> dict[int, list[Tick]]:
        """What has been learnt, by channel: waits up to `wait_s` for the first answer, and a little for more."""
        learnt: dict[int, list[Tick]] = {}
        until = time.monotonic() + LINGER_S
        while self._waiting:
            try:
                channel_id, tick = self._answers.get(timeout=wait_s)
            except queue.Empty:
                break
            self._go_on(channel_id, tick)
            if tick is not None:
                learnt.setdefault(channel_id, []).append(tick)
            wait_s = max(0.0, until - time.monotonic())
        return learnt

    def give_up(self) -> list[int]:
        """Ask nothing more. Returns the messages (seq) that are not asked about."""
        left = [row.seq for waiting in self._waiting.values() for row in waiting]
        for waiting in self._waiting.values():
            self._count -= len(waiting)
            waiting.clear()
        return left

    def _go_on(self, channel_id: int, tick: Tick | None) -> None:
        """Ask the channel's next question; none once no answer comes."""
        self._count -= 1
        waiting = self._waiting[channel_id]
        if tick is None or tick.info.problem in NOT_ANSWERED:
            self._count -= len(waiting)
            waiting.clear()
        if waiting:
            self._pool.submit(self._work, waiting.popleft())
        else:
            del self._waiting[channel_id]

    def _work(self, row: Row[Any]) -> None:
        tick = None
        try:
            key = None if self._parts.stopping.is_set() else self._key(row)
            if key is not None:
                info = self._parts.gateway.message_info(key.get_secret_value(), row.gateway_msg_id)
                tick = Tick(attempt_id=row.attempt_id, info=info)
        finally:  # whatever broke, the run must not wait for ever
            self._answers.put((row.channel_id, tick))

    def _key(self, row: Row[Any]) -> SecretStr | None:
        try:
            return self._parts.vault.channel_key(row.api_key_encrypted)
        except NotConfigured as error:
            log.warning("channel_key_unusable", channel_id=row.channel_id, code=error.code)
            return None
