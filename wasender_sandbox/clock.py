"""Time as the sandbox sees it: one monotonic clock that reads like Unix time, and how the gateway prints times."""

import time
from datetime import UTC, datetime


class Clock:
    """`now()` never jumps and is comparable with `time.time()` of other processes on the machine (seconds)."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset + time.monotonic()

    def to_loop_time(self, moment: float) -> float:
        """The event loop's time (`loop.call_at`) for a moment of this clock."""
        return moment - self._offset


def iso(moment: float) -> str:
    """`2026-01-02T03:04:05.000000Z`, as sessions and session logs print times."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def plain(moment: float) -> str:
    """`2026-01-02 03:04:05`, without a zone, as message logs print times."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def seconds_to_midnight(moment: float) -> float:
    """Seconds until the next midnight UTC, when daily caps start again."""
    return 86400.0 - moment % 86400.0
