"""Quiet hours: when nobody wants to be written to, by the clock of the recipient's own time zone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self

from worker.domain.errors import NotConfigured
from worker.domain.time_zone import clock_of

_WRITTEN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class QuietHours:
    """From `begin` to `end`, wall-clock times; across midnight where `end` is the earlier one."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Understand `21:00-09:00`. Raises NotConfigured for anything else, and for a span that is empty."""
        found = _WRITTEN.fullmatch(text.strip())
        begin, end = (
            (time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))) if found else (None, None)
        )
        if begin is None or end is None or begin == end:
            raise NotConfigured(f"{text[:40]!r} are no quiet hours. Write them as HH:MM-HH:MM, such as 21:00-09:00.")
        return cls(begin, end)

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"

    def until(self, now: datetime, zone: str) -> datetime | None:
        """When the quiet hours that hold at `now` in this zone end; None where none hold.

        `zone` is what `time_zone.zone_of` gives. Of two zones all clocks in between are heeded: it is quiet until the
        westernmost one is through. Zones so far apart that somebody always sleeps would keep a message for ever, so
        of those only the westernmost one is heeded.

        The end is a wall-clock time, so a change to or from summer time in between moves it along.
        """
        west, _, east = zone.partition(" ")
        end = self._until(now, west, east or west)
        if end is not None and east and self._until(end, west, east) is not None:
            return self._until(now, west, west)
        return end

    def _until(self, now: datetime, west: str, east: str) -> datetime | None:
        clock = clock_of(west)
        earliest = now.astimezone(clock).replace(tzinfo=None)
        latest = now.astimezone(clock_of(east)).replace(tzinfo=None)
        ends = [end for begin, end in self._nights(earliest, latest) if begin <= latest and earliest < end]
        if not ends:
            return None
        end = max(ends).replace(tzinfo=clock).astimezone(now.tzinfo)
        # In the hour that comes twice in autumn the first pass of the end has ended them.
        return end if now < end else None

    def _nights(self, earliest: datetime, latest: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The quiet spans around these wall-clock times."""
        day = earliest.date() - _DAY
        while day <= latest.date():
            yield datetime.combine(day, self.begin), datetime.combine(day + _DAY * (self.end <= self.begin), self.end)
            day += _DAY


#: Where nobody has configured any, for messages that ask to heed them.
USUAL = QuietHours(time(21), time(9))
