"""Durations as people read and write them."""

import re
from datetime import timedelta

from worker.domain.errors import InvalidRequest

_WRITTEN = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST_WRITTEN = timedelta(days=3650)


def lasting(duration: timedelta) -> str:
    """Give "12 s", "4 min", "3 h 20 min", "2 days"; nothing is negative."""
    seconds = max(0, round(duration.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    hours = minutes // 60
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        rest = minutes % 60
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} days"


def briefly(duration: timedelta) -> str:
    """Give "0.35 s", "7.6 s", "90 s": for times so short that fractions count."""
    return f"{duration.total_seconds():.2g} s" if duration < timedelta(seconds=10) else lasting(duration)


def parse_duration(written: str) -> timedelta:
    """Understand "90s", "30m", "24h", "90d", "2w". Raises InvalidRequest for anything else, and beyond ten years."""
    understood = _WRITTEN.fullmatch(written.strip().lower())
    if understood is None:
        raise InvalidRequest(
            f"{written[:40]!r} is no duration. Write a number and s, m, h, d or w, such as 24h or 90d.",
            code="bad_duration",
        )
    duration = timedelta(**{_UNITS[understood[2]]: int(understood[1])})
    if duration > LONGEST_WRITTEN:
        raise InvalidRequest(f"{written[:40]!r} is longer than ten years.", code="bad_duration")
    return duration
