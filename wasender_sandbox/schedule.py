"""One heap and one loop timer for everything that happens later: ticks, delayed webhooks, statuses that come back."""

import asyncio
import heapq
import logging
from collections.abc import Callable
from typing import Any

from wasender_sandbox.clock import Clock

log = logging.getLogger(__name__)

#: How many due calls run before the loop gets to serve requests again.
BATCH = 200


class Schedule:
    """Calls in order of due time, then in order of scheduling. A call must not block."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def at(self, due: float, call: Callable[..., None], *args: Any) -> None:
        """Run `call(*args)` at the clock's moment `due`."""
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, call, args))
        if self._timer is None or due < self._timer_due:
            self._arm()

    def clear(self) -> None:
        """Forget everything that was to come."""
        self._heap.clear()
        self._disarm()

    def __len__(self) -> int:
        return len(self._heap)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._disarm()
        if self._heap:
            self._timer_due = self._heap[0][0]
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._clock.to_loop_time(self._timer_due), self._run_due)

    def _run_due(self) -> None:
        self._timer = None
        now = self._clock.now()
        for _ in range(BATCH):
            if not self._heap or self._heap[0][0] > now:
                break
            _due, _sequence, call, args = heapq.heappop(self._heap)
            try:
                call(*args)
            except Exception:  # one broken call must not stop all later ones
                log.exception("scheduled call failed")
        self._arm()
