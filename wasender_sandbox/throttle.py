"""Send limits: a number of requests per window, counted on arrival as Laravel's rate limiter counts them.

Weakness: state lives in memory only, so a restart of the sandbox forgets the running window.
"""

from collections import deque
from dataclasses import dataclass
from typing import Self

from wasender_sandbox.errors import ControlError

MODES = ("fixed", "sliding", "spacing")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests per `per_s` seconds."""

    count: int
    per_s: float

    @classmethod
    def parse(cls, raw: object) -> Self | None:
        """Read `"1/5"`, `"256/60"`, or `"none"`/None/"" for no limit."""
        if raw is None or str(raw).lower() in {"none", "", "off"}:
            return None
        count, _, per_s = str(raw).partition("/")
        try:
            limit = cls(int(count), float(per_s))
        except ValueError:
            limit = cls(0, 0)
        if limit.count < 1 or limit.per_s <= 0:
            raise ControlError(f"{raw!r} is not a limit: give messages/seconds, such as 1/5 or 256/60, or none.")
        return limit

    def __str__(self) -> str:
        return f"{self.count}/{self.per_s:g}"


class Throttle:
    """Counts requests against a limit. Refused requests do not count.

    `fixed`: the window opens with the first request and empties when it ends (WaSender's own way).
    `sliding`: no window of that length ever holds more. `spacing`: a minimum gap of per_s / count.
    """

    def __init__(self, limit: Limit | None, mode: str = "fixed") -> None:
        if mode not in MODES:
            raise ControlError(f"A limit's mode is one of {', '.join(MODES)}, not {mode!r}.")
        self.limit = limit
        self.mode = mode
        self._taken: deque[float] = deque()

    def take(self, now: float) -> float:
        """Use one slot and return 0.0, or return how many seconds remain until one is free."""
        wait = self.wait_s(now)
        if wait <= 0 and self.limit is not None:
            self._taken.append(now)
        return max(wait, 0.0)

    def give_back(self) -> None:
        """Undo the last `take`."""
        if self._taken:
            self._taken.pop()

    def wait_s(self, now: float) -> float:
        """Seconds until the next slot; 0.0 when one is free."""
        if self.limit is None:
            return 0.0
        taken = self._taken
        if self.mode == "spacing":
            while len(taken) > 1:
                taken.popleft()
            return taken[0] + self.limit.per_s / self.limit.count - now if taken else 0.0
        if self.mode == "fixed":
            if taken and now >= taken[0] + self.limit.per_s:
                taken.clear()
        else:
            while taken and now >= taken[0] + self.limit.per_s:
                taken.popleft()
        if len(taken) < self.limit.count:
            return 0.0
        return taken[0] + self.limit.per_s - now

    def remaining(self, now: float) -> int:
        """Slots left at this moment."""
        if self.limit is None:
            return 0
        if self.wait_s(now) > 0:
            return 0
        return max(self.limit.count - len(self._taken), 0) if self.mode != "spacing" else 1

    def reset_s(self, now: float) -> float:
        """Seconds until the running window is over."""
        if self.limit is None or not self._taken:
            return 0.0
        return max(self._taken[0] + self.limit.per_s - now, 0.0)


class DailyCap:
    """At most `cap` requests per UTC day of the gateway's clock; 0 means no cap."""

    def __init__(self, cap: int = 0) -> None:
        self.cap = cap
        self._day = -1
        self._used = 0

    def take(self, now: float) -> bool:
        if not self.cap:
            return True
        self._turn(now)
        if self._used >= self.cap:
            return False
        self._used += 1
        return True

    def give_back(self) -> None:
        self._used = max(self._used - 1, 0)

    def remaining(self, now: float) -> int:
        self._turn(now)
        return max(self.cap - self._used, 0)

    def _turn(self, now: float) -> None:
        day = int(now // 86400)
        if day != self._day:
            self._day, self._used = day, 0
