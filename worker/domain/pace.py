"""Pacing arithmetic: how many messages a channel may send, and when its next slot is.

A slot is never granted early, so a burst is impossible (GCRA with burst 1). Weakness: the spacing holds at our side
of the network; `MARGIN` covers the jitter of the way to WaSender, a network that jitters by more can earn a 429.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from worker.domain.errors import NotConfigured

#: The share by which slots are wider than the limit, and the least and most it adds in seconds.
MARGIN = 0.01
MARGIN_BOUNDS_S = (0.002, 0.050)
#: A slot may be reserved a little before the former one has begun.
RESERVED_EARLY = timedelta(seconds=1)

_SPELLING = re.compile(r"\s*(\d{1,6})\s*/\s*(\d{1,6}(?:\.\d{1,3})?)\s*")


@dataclass(frozen=True)
class Pace:
    """At most `messages` in `seconds`, evenly spaced."""

    messages: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "1/5" (one message in five seconds) or "256/60". Raises NotConfigured for anything else."""
        match = _SPELLING.fullmatch(text)
        if match is None or int(match[1]) == 0 or float(match[2]) == 0:
            raise NotConfigured(
                f"The pace {text[:40]!r} is not understood. Write MESSAGES/SECONDS, such as 1/5 or 256/60.",
                code="bad_pace",
            )
        return cls(int(match[1]), float(match[2]))

    @property
    def interval_s(self) -> float:
        """Seconds from one slot to the next, margin included."""
        exact = self.seconds / self.messages
        least, most = MARGIN_BOUNDS_S
        return exact + min(max(exact * MARGIN, least), most)

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self.interval_s)

    def slot_after(self, started_at: datetime, reserved_until: datetime | None = None) -> datetime:
        """The earliest next slot once a POST began at `started_at`; never before one already reserved."""
        following = started_at + self.interval
        return following if reserved_until is None else max(following, reserved_until)

    def is_beyond_turn(self, slot: datetime, now: datetime) -> bool:
        """Is this next slot further away than the pace alone can put it?"""
        return slot > now + self.interval + RESERVED_EARLY

    def __str__(self) -> str:
        seconds = f"{self.seconds:.3f}".rstrip("0").rstrip(".")
        return f"{self.messages}/{seconds}"
