"""The time of the database, which all workers share, told by this process's monotonic clock in between."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from worker.database import DatabaseAway, snapshot

Clock = Callable[[], datetime]

#: How long the monotonic clock is trusted before the database is asked again.
ANCHOR_S = 60.0
#: How soon it is asked again when it was away.
RETRY_S = 5.0


def system_clock() -> datetime:
    return datetime.now(UTC)


class DatabaseClock:
    """Calls tell the database's time in UTC, so workers whose own clocks differ still agree on slots and leases.

    Weakness: wrong by up to half of the round trip of the question. On SQLite (one machine) it anchors on that
    machine's own clock. A database that is away does not stop it: the last anchor holds.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asking = threading.Lock()
        #: The database's time and the monotonic time at which it held.
        self._anchor: tuple[datetime, float] | None = None
        self._ask_again_at = 0.0

    def __call__(self) -> datetime:
        if self._anchor is None or time.monotonic() >= self._ask_again_at:
            self._ask()
        assert self._anchor is not None
        told, at = self._anchor
        return told + timedelta(seconds=time.monotonic() - at)

    def _ask(self) -> None:
        """Anchor anew. Only one thread asks; the others go on with the old anchor, or wait for the first."""
        if not self._asking.acquire(blocking=self._anchor is None):
            return
        try:
            before = time.monotonic()
            told = self._told()
            middle = (before + time.monotonic()) / 2
            if self._anchor is not None:
                # A step back would let a slot be used twice.
                last, at = self._anchor
                told = max(told, last + timedelta(seconds=middle - at))
            self._anchor = (told, middle)
            self._ask_again_at = middle + ANCHOR_S
        except DatabaseAway:
            if self._anchor is None:
                raise
            self._ask_again_at = time.monotonic() + RETRY_S
        finally:
            self._asking.release()

    def _told(self) -> datetime:
        if self._engine.dialect.name == "sqlite":
            return system_clock()
        with snapshot(self._engine) as connection:
            told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return told.astimezone(UTC)
