"""How long WaSender wants us to wait: read from the body and headers of a throttled answer.

A header that names a moment is read against the gateway's own clock, which may be off by minutes: the answer's `Date`
tells it, to the second. Weakness: a proxy in between that writes a `Date` of its own hides the gateway's.
"""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

#: No documented window is longer than a day; a larger number is a mistake of the server's.
LONGEST_WAIT_S = 86_400.0
#: No number of seconds to go is larger; no Unix time since 1971 is smaller.
_LONGEST_DELTA_S = 31_536_000.0


def read_wait_s(answer: Mapping[str, object], headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds to wait, between 0 and `LONGEST_WAIT_S`, or None when WaSender did not say.

    `headers` has lower-case names; `now` is Unix time by our clock, for answers without a `Date`. An exhausted daily
    cap wins when it is the longer wait; then the order of the official n8n node: body, `Retry-After`, reset header
    (contract 3.2, 3.3).
    """
    gateway_now = _moment(headers.get("date"))
    now = now if gateway_now is None else gateway_now
    waits = (
        _seconds(answer.get("retry_after")),
        _seconds(answer.get("retryAfter")),
        _retry_after(headers.get("retry-after"), now),
        _until_reset(headers.get("x-ratelimit-reset"), now),
    )
    wait_s = next((wait for wait in waits if wait is not None), None)
    if _seconds(headers.get("x-ratelimit-daily-remaining")) == 0:
        daily_s = _until_reset(headers.get("x-ratelimit-daily-reset"), now)
        if daily_s is not None:
            wait_s = max(daily_s, wait_s or 0.0)
    return None if wait_s is None else min(wait_s, LONGEST_WAIT_S)


def _seconds(value: object) -> float | None:
    """Give a number, or the number in a string, that is finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _retry_after(value: str | None, now: float) -> float | None:
    seconds = _seconds(value)
    if seconds is not None:
        return seconds
    moment = _moment(value)
    return None if moment is None else max(0.0, moment - now)


def _moment(value: str | None) -> float | None:
    """Give the Unix time of an HTTP date."""
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _until_reset(value: str | None, now: float) -> float | None:
    """Read a reset header, which WaSender documents both as seconds to go and as Unix time."""
    reset = _seconds(value)
    if reset is None or reset <= _LONGEST_DELTA_S:
        return reset
    return max(0.0, reset - now)
