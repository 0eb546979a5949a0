"""Amounts of seconds that are fixed or drawn from a range."""

import random
from collections.abc import Sequence
from typing import NamedTuple, Self

from wasender_sandbox.errors import ControlError


class Span(NamedTuple):
    """Seconds from `low` to `high`; equal bounds mean a fixed time."""

    low: float
    high: float

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Read `0.3`, `"0.3"`, `"0.1-0.5"` or `[0.1, 0.5]`."""
        try:
            bounds = _bounds(raw)
        except (TypeError, ValueError):
            bounds = []
        if len(bounds) not in {1, 2} or bounds[0] < 0 or bounds[-1] < bounds[0]:
            raise ControlError(f"{raw!r} is not a time: give seconds (0.3) or a range (0.1-0.5).")
        return cls(bounds[0], bounds[-1])

    def draw(self, rng: random.Random) -> float:
        return self.low if self.low == self.high else rng.uniform(self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"


def _bounds(raw: object) -> list[float]:
    if isinstance(raw, bool):
        raise TypeError(raw)
    if isinstance(raw, str):
        return [float(part) for part in raw.split("-")]
    if isinstance(raw, Sequence):
        return [float(part) for part in raw]
    if isinstance(raw, int | float):
        return [float(raw)]
    raise TypeError(raw)


NO_TIME = Span(0.0, 0.0)
