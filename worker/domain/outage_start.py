"""When did an outage begin, by WaSender's session log? Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from worker.domain.account import SessionEvent

#: States of a session (contract 5). A row with another word tells of something else.
_SESSION_STATES: Final = frozenset(
    {
        "connecting",
        "connected",
        "disconnected",
        "need_scan",
        "need_passkey",
        "logged_out",
        "expired",
        "error",
    }
)
#: The gateway's clock is known to about a second, so what happened just before may seem to come after.
CLOCK_ERROR: Final = timedelta(seconds=2)


def began_from_session_logs(
    rows: Iterable[SessionEvent],
    *,
    noticed_at: datetime,
    skew_s: float | None,
    last_good_at: datetime | None,
) -> datetime | None:
    """Give the moment, by our clock, at which the session left `connected` for the last time before `noticed_at`.

    `rows` may come in any order, and should reach back to `last_good_at`: a tick or good answer that proves it
    worked then. What was before the first row is taken for connected, unless that row is followed by the
    session's first `connected`. `skew_s` is the gateway's clock minus ours. None when the log does not tell: the
    session did not leave, or was back at `last_good_at`, or the clocks cannot be compared. Never before
    `last_good_at`, never after `noticed_at`.
    """
    if skew_s is None:
        return None
    ahead = timedelta(seconds=skew_s)
    left_at: datetime | None = None
    was_connected, ever_connected = True, False
    for row in sorted(rows, key=lambda row: (row.occurred_at, row.id)):
        moment = row.occurred_at - ahead
        if row.status not in _SESSION_STATES or moment > noticed_at + CLOCK_ERROR:
            continue
        is_connected = row.status == "connected"
        if is_connected:
            never_left = not ever_connected
            was_good_later = last_good_at is not None and moment <= last_good_at
            left_at = None if never_left or was_good_later else left_at
            ever_connected = True
        elif was_connected:
            left_at = moment
        was_connected = is_connected
    if left_at is None:
        return None
    return min(max(left_at, last_good_at or left_at), noticed_at)
