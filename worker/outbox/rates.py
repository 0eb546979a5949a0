"""Delivery rates of a channel: what became of the messages that WaSender accepted lately, and how soon they were
ticked. Bounded: of a window with more messages than are counted, the newest ones speak for it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select

from worker.models import Event, Message

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: How many messages are counted, of all channels together, and of each one at the least and at the most.
BUDGET, LEAST, MOST = 40_000, 100, 20_000
#: How many of the newest ticks speak for the time that a tick takes.
MOST_TIMED = 500

_LATELY: tuple[ColumnElement[Any], ...] = (
    Message.channel_id == bindparam("channel_id"),
    # Word for word the condition of the partial index.
    literal_column("messages.accepted_at IS NOT NULL AND messages.state <> 'queued'"),
    Message.accepted_at >= bindparam("since"),
)
_newest = (
    select(Message.accepted_at, Message.sent_at, Message.delivered_at)
    .where(*_LATELY)
    .order_by(Message.accepted_at.desc())
    .limit(bindparam("most"))
    .subquery()
)
_COUNT = select(
    func.count().label("accepted"),
    func.count(_newest.c.sent_at).label("sent"),
    func.count(_newest.c.delivered_at).label("delivered"),
    func.min(_newest.c.accepted_at).label("first"),
)
_TIMES = (
    select(Message.accepted_at, Message.sent_at)
    .where(*_LATELY, Message.sent_at.is_not(None))
    .order_by(Message.accepted_at.desc())
    .limit(bindparam("most"))
)
_failures = (
    select(literal_column("1"))
    .select_from(Event)
    .where(
        Event.channel_id == bindparam("channel_id"),
        literal_column("events.after = 'failed' AND events.message_seq IS NOT NULL"),
        # Told once more is not failed once more (see `callbacks.corrections`).
        Event.before.is_distinct_from("failed"),
        Event.at >= bindparam("since"),
    )
    .limit(bindparam("most"))
    .subquery()
)
_COUNT_FAILURES = select(func.count()).select_from(_failures)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Of the messages that WaSender accepted in `window`: how many WhatsApp has ticked, and had delivered, by now.

    `failed` counts those that failed in that time, accepted or not. `partial`: there were more than were counted, and
    the newest `accepted` ones speak for the rest.
    """

    window: timedelta
    accepted: int
    sent: int
    delivered: int
    failed: int
    #: Seconds from acceptance to the first tick; None where nothing was ticked.
    tick_median_s: float | None
    tick_p95_s: float | None
    per_minute: float
    partial: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "sent": self.sent,
            "delivered": self.delivered,
            "failed": self.failed,
            "tick_median_s": self.tick_median_s,
            "tick_p95_s": self.tick_p95_s,
            "per_minute": self.per_minute,
            "partial": self.partial,
        }


def rates(connection: Connection, channel_ids: Sequence[int], *, now: datetime) -> dict[int, tuple[Rates, Rates]]:
    """Of each channel those of the last hour and of the last day."""
    most = min(MOST, max(LEAST, BUDGET // max(1, len(channel_ids))))
    return {
        channel_id: (
            _of(connection, channel_id, HOUR, now=now, most=most),
            _of(connection, channel_id, DAY, now=now, most=most),
        )
        for channel_id in channel_ids
    }


def _of(connection: Connection, channel_id: int, window: timedelta, *, now: datetime, most: int) -> Rates:
    asked = {"channel_id": channel_id, "since": now - window, "most": most}
    counted = connection.execute(_COUNT, asked).one()
    failed = connection.execute(_COUNT_FAILURES, asked).scalar_one()
    times = connection.execute(_TIMES, asked | {"most": min(most, MOST_TIMED)}).all() if counted.sent else []
    took = sorted(max(0.0, (row.sent_at - row.accepted_at).total_seconds()) for row in times)
    partial = counted.accepted >= most or failed >= most
    span = now - counted.first if counted.accepted >= most else window
    return Rates(
        window=window,
        accepted=counted.accepted,
        sent=counted.sent,
        delivered=counted.delivered,
        failed=failed,
        tick_median_s=_quantile(took, 0.5),
        tick_p95_s=_quantile(took, 0.95),
        per_minute=round(counted.accepted / max(1 / 60, span.total_seconds() / 60), 2),
        partial=partial,
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest one that at least this share of all does not exceed."""
    if not ordered:
        return None
    return round(ordered[math.ceil(share * len(ordered)) - 1], 2)
