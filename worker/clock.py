"""The time of the database, which all workers share, told by this machine's boot clock in between."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from worker.database import DatabaseAway, snapshot

Clock = Callable[[], datetime]

#: How long the boot clock is trusted before the database is asked again.
ANCHOR_S = 60.0
#: How soon it is asked again when it was away.
RETRY_S = 5.0
#: From so much difference between the machine's own two clocks on, one of them has been stopped or set.
JUMP_S = 1.0


def system_clock() -> datetime:
    return datetime.now(UTC)


def boot_s() -> float:
    """Seconds that never go back, and, where the system has such a clock, go on while the machine is suspended."""
    return _BOOT_S()


def _best_clock() -> Callable[[], float]:
    number = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if number is None else lambda: time.clock_gettime(number)


_BOOT_S = _best_clock()


@dataclass(frozen=True, kw_only=True)
class _Anchor:
    """The database's time, and what this machine's clocks showed when it held."""

    told: datetime
    boot_s: float
    wall_s: float

    def plus(self, boot_s: float) -> datetime:
        return self.told + timedelta(seconds=boot_s - self.boot_s)

    def jump_s(self, boot_s: float, wall_s: float) -> float:
        """How far the wall clock has run ahead of the boot clock: a virtual machine that was paused wakes up with
        nothing but its wall clock put right. 0 while they agree."""
        ahead_s = (wall_s - self.wall_s) - (boot_s - self.boot_s)
        return ahead_s if abs(ahead_s) >= JUMP_S else 0.0


class DatabaseClock:
    """Calls tell the database's time in UTC, so workers whose own clocks differ still agree on slots and leases.

    Weakness: wrong by up to half of the round trip of the question. On SQLite (one machine) it anchors on that
    machine's own clock. A database that is away does not stop it: the last anchor holds. If the machine seems to have
    slept since, it tells the later time until the database can be asked, so that nothing is sent after its lease. A
    machine that was paused and whose wall clock nobody has put right yet cannot know.
    """

    def __init__(
        self, engine: Engine, *, boot_s: Callable[[], float] = boot_s, wall_s: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._boot_s, self._wall_s = boot_s, wall_s
        self._asking = threading.Lock()
        self._anchor: _Anchor | None = None
        self._ask_again_at = 0.0
        #: The same after a jump of the clocks, which is not waited for.
        self._ask_of_jump_at = 0.0

    def __call__(self) -> datetime:
        anchor, now_s = self._anchor, self._boot_s()
        jumped = anchor is not None and anchor.jump_s(now_s, self._wall_s()) != 0
        if anchor is None or now_s >= self._ask_again_at or (jumped and now_s >= self._ask_of_jump_at):
            self._ask(wait=anchor is None or jumped, besides=anchor)
        anchor, now_s = self._anchor, self._boot_s()
        assert anchor is not None
        return anchor.plus(now_s) + timedelta(seconds=max(0.0, anchor.jump_s(now_s, self._wall_s())))

    def _ask(self, *, wait: bool, besides: _Anchor | None) -> None:
        """Anchor anew, if that has not been done `besides`. Only one thread asks; the others go on with the old
        anchor, or wait for the first one."""
        if not self._asking.acquire(blocking=wait):
            return
        try:
            if self._anchor is not besides:
                return
            before_s = self._boot_s()
            told = self._told()
            middle_s = (before_s + self._boot_s()) / 2
            if self._anchor is not None:
                # A step back would let a slot be used twice.
                told = max(told, self._anchor.plus(middle_s))
            self._anchor = _Anchor(told=told, boot_s=middle_s, wall_s=self._wall_s())
            self._ask_again_at = middle_s + ANCHOR_S
        except DatabaseAway:
            if self._anchor is None:
                raise
            self._ask_again_at = self._ask_of_jump_at = self._boot_s() + RETRY_S
        finally:
            self._asking.release()

    def _told(self) -> datetime:
        if self._engine.dialect.name == "sqlite":
            return system_clock()
        with snapshot(self._engine) as connection:
            told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return told.astimezone(UTC)
