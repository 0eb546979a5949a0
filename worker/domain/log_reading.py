"""Reading WaSender's message log back as far as doubted attempts need it, and telling how far that was.

The log is long, grows while it is read, and is only likely to begin with its newest row: so how far a reading
reaches is a finding, never an assumption. No I/O: the caller gives the function that fetches a page.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Final

from worker.domain.account import LogPage, LogRow, Problem

MOST_PAGES: Final = 20
#: The log's times have no zone (up to 14 hours either way), and clocks may be off by as much again.
ANY_ZONE: Final = timedelta(hours=26)
#: Rows beyond the bound that have to be seen in falling order, so that one misplaced row is not taken for the bound.
BEYOND: Final = 10


@dataclass(frozen=True, kw_only=True)
class DoubtedAttempt:
    """A POST of ours of which nobody knows whether WaSender took it."""

    attempt_id: int
    #: As it was posted, and the posted body as a JSON object.
    recipient: str = field(repr=False)
    posted: Mapping[str, object] = field(repr=False)
    #: The request began and was given up within these times.
    started_at: datetime
    ended_at: datetime
    #: The largest id known from any attempt that had finished before this one began: ids only grow, so this one's
    #: is larger. None: there was none.
    after_id: int | None

    @property
    def earliest(self) -> datetime:
        """No row of this attempt bears an earlier time, whatever the log's zone."""
        return self.started_at - ANY_ZONE

    def in_time(self, row: LogRow) -> bool:
        """Could a row be this attempt's, by its time alone?"""
        return row.created_at is None or self.earliest <= row.created_at <= self.ended_at + ANY_ZONE


@dataclass(frozen=True, kw_only=True)
class LogReading:
    """What was read of one session's log."""

    #: When the first page was asked for, by our clock. What happened later may be missing.
    began_at: datetime
    #: Each row once, as it was seen last, in the order in which they were seen first.
    rows: tuple[LogRow, ...]
    #: Every row that there was at the beginning has been read.
    whole: bool
    #: What ended the reading early.
    problem: Problem | None = None

    @cached_property
    def newest_first(self) -> bool:
        """Were the rows seen in falling order of their ids, without exception?"""
        return all(earlier.id > later.id for earlier, later in pairwise(self.rows))

    def reaches_id(self, bound: int) -> bool:
        """Has every row with a larger id been read?"""
        return self.whole or (self.newest_first and sum(row.id <= bound for row in self.rows) >= BEYOND)

    def reaches_time(self, bound: datetime) -> bool:
        """Has every row with a later time been read?"""
        older = sum(row.created_at is not None and row.created_at < bound for row in self.rows)
        return self.whole or (self.newest_first and older >= BEYOND)

    def reaches(self, attempt: DoubtedAttempt) -> bool:
        """Has every row been read that could be this attempt's, as far as ids can be relied on?"""
        if attempt.after_id is not None:
            return self.reaches_id(attempt.after_id)
        return self.reaches_time(attempt.earliest)


def read_log(
    fetch: Callable[[int], LogPage | Problem],
    doubted: Iterable[DoubtedAttempt],
    *,
    began_at: datetime,
    most_pages: int = MOST_PAGES,
) -> LogReading:
    """Read pages 1, 2, … until they reach what is doubted, the log ends, a page cannot be had, or it is enough.

    `began_at` is our time now, before the first page. Rows that move to a later page because newer ones arrive are
    read twice and counted once; rows that are deleted meanwhile make the reading not whole.
    """
    doubted = tuple(doubted)
    rows: dict[int, LogRow] = {}
    total = 0
    reading = LogReading(began_at=began_at, rows=(), whole=False)
    for number in range(1, most_pages + 1):
        page = fetch(number)
        if isinstance(page, Problem):
            return LogReading(began_at=began_at, rows=tuple(rows.values()), whole=False, problem=page)
        rows |= {row.id: row for row in page.rows}
        total = page.total or 0 if number == 1 else total
        answers = page.current_page == number
        ends = answers and page.last_page is not None and page.last_page <= number
        reading = LogReading(began_at=began_at, rows=tuple(rows.values()), whole=ends and len(rows) >= total)
        if ends or not answers or not page.rows or all(map(reading.reaches, doubted)):
            break
    return reading
