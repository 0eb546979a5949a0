"""Quiet hours: when nobody wants to be written to, by the clock of the recipient's own time zone."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from worker.domain.errors import NotConfigured

_WRITTEN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)


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
        """When the quiet hours that hold at `now` in this zone (an IANA name) end; None where none hold.

        The end is a wall-clock time, so a change to or from summer time in between moves it along.
        """
        local = now.astimezone(ZoneInfo(zone))
        begun_on = local.date() if local.time() >= self.begin else local.date() - timedelta(days=1)
        ends_on = begun_on + timedelta(days=self.end <= self.begin)
        end = datetime.combine(ends_on, self.end, local.tzinfo).astimezone(now.tzinfo)
        return end if now < end else None
