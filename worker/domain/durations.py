"""Durations in words, for people."""

from datetime import timedelta


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
