"""The change feed: every status change that the CRM can see, in an order that has no gaps and never changes.

Transactions end in another order than they begin, so a change gets its place only after its commit, from whoever
asks: one at a time, under the lock of the feed's single row. What is read once never gets a predecessor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, text, update

from worker.database import insert_unless_there
from worker.models import Event, Feed

#: How many changes are numbered in one transaction.
NUMBERED_AT_ONCE = 5000

_ROW = 1
_LAST = select(Feed.last_no).where(Feed.id == _ROW).with_for_update()
_UNNUMBERED = (
    select(Event.id)
    .where(text("events.status IS NOT NULL AND events.feed_no IS NULL"))
    .order_by(Event.id)
    .limit(bindparam("most"))
)
_next = _UNNUMBERED.subquery()
_placed = select(_next.c.id, func.row_number().over(order_by=_next.c.id).label("place")).subquery()
_NUMBER = update(Event).where(Event.id == _placed.c.id).values(feed_no=bindparam("last") + _placed.c.place)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One status change of one message. `status` is what the CRM saw from then on."""

    feed_no: int
    message_seq: int
    status: str
    at: datetime
    #: The message was made by it, so whoever made it knows.
    is_first: bool


def number_changes(connection: Connection, *, most: int = NUMBERED_AT_ONCE) -> int:
    """Give the oldest changes without a place theirs. Returns how many; fewer than `most` when none is left.

    Has to be committed before any place is told to anybody.
    """
    last = connection.execute(_LAST).scalar_one_or_none()
    if last is None:
        connection.execute(insert_unless_there(connection, Feed).values(id=_ROW, last_no=0))
        last = connection.execute(_LAST).scalar_one()
    # Seen after the lock is had: what was committed before the former holder's numbers is numbered, what is seen now
    # comes after it. A statement of its own sees all that was committed until it began.
    numbered = connection.execute(_NUMBER, {"most": most, "last": last}).rowcount
    if numbered:
        connection.execute(update(Feed).where(Feed.id == _ROW).values(last_no=last + numbered))
    return numbered


def anything_unnumbered(connection: Connection) -> bool:
    """Is there a change without a place? Costs one probe of an index, and takes no lock."""
    return connection.execute(_UNNUMBERED, {"most": 1}).first() is not None


def last_number(connection: Connection) -> int:
    """The place of the latest change that has one; 0 when there is none."""
    return connection.execute(select(Feed.last_no).where(Feed.id == _ROW)).scalar_one_or_none() or 0


def changes_after(connection: Connection, feed_no: int, *, most: int) -> Sequence[Change]:
    """The changes behind a place, in order."""
    rows = connection.execute(
        select(Event.feed_no, Event.message_seq, Event.status, Event.at, Event.before)
        .where(text("events.feed_no IS NOT NULL"), Event.feed_no > feed_no)
        .order_by(Event.feed_no)
        .limit(most)
    )
    return [
        Change(
            feed_no=row.feed_no,
            message_seq=row.message_seq,
            status=row.status,
            at=row.at,
            is_first=row.before is None,
        )
        for row in rows
    ]
