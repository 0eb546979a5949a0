"""A message log and doubted attempts, in minutes and small ids, for tests of what the one proves about the other."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from worker.domain.account import LogPage, LogRow, Problem, ProblemCode
from worker.domain.log_match import Verdict, match_log
from worker.domain.log_reading import DoubtedAttempt, LogReading

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TO = "+917033009600"
TEXT = "Your order 1001 is on its way"


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def row(
    number: int,
    text: str | None = TEXT,
    to: str | None = TO,
    minutes: float | None = 0,
    status: str = "sent",
    **fields: object,
) -> LogRow:
    """A row of the log; `text` None leaves it out, `to` and content are hidden when both are None."""
    said = fields | ({} if text is None else {"text": text})
    return LogRow(
        id=number,
        to=to,
        content=said or None,
        status=status,
        failed_reason=None,
        created_at=None if minutes is None else at(minutes),
    )


def hidden(number: int, minutes: float = 0) -> LogRow:
    return row(number, None, None, minutes)


def doubted(
    number: int = 1, after: int | None = 100, text: str = TEXT, to: str = TO, minutes: float = 0, **fields: object
) -> DoubtedAttempt:
    """An attempt begun at noon plus `minutes` and given up half a minute later."""
    return DoubtedAttempt(
        attempt_id=number,
        recipient=to,
        posted={"to": to, "text": text} | fields,
        started_at=at(minutes),
        ended_at=at(minutes + 0.5),
        after_id=after,
    )


def read(*rows: LogRow, whole: bool = True, minutes: float = 10) -> LogReading:
    """A reading of the whole log, begun ten minutes after noon."""
    return LogReading(began_at=at(minutes), rows=rows, whole=whole)


def verdicts(
    attempts: Iterable[DoubtedAttempt],
    reading: LogReading,
    *,
    known: Iterable[int] = (100,),
    logging: bool | None = True,
    in_flight: Iterable[DoubtedAttempt] = (),
) -> dict[int, Verdict]:
    """Match, with ids that our other attempts got two minutes before noon."""
    ended_at = dict.fromkeys(known, at(-2))
    return match_log(attempts, reading, known=ended_at, logging=logging, in_flight=in_flight)


class PagedLog:
    """A log that is asked page by page, newest row first unless told otherwise."""

    def __init__(self, rows: Iterable[LogRow], per_page: int = 5, *, oldest_first: bool = False) -> None:
        self.rows = sorted(rows, key=lambda kept: kept.id)
        self.per_page = per_page
        self.oldest_first = oldest_first
        self.asked: list[int] = []
        #: Rows that arrive before the page of that number is answered.
        self.arriving: dict[int, list[LogRow]] = {}
        #: Ids of rows that are deleted before the page of that number is answered.
        self.leaving: dict[int, set[int]] = {}
        #: The page that cannot be had.
        self.broken_page: int | None = None

    def __call__(self, number: int) -> LogPage | Problem:
        self.asked.append(number)
        if number == self.broken_page:
            return Problem(code=ProblemCode.TIMEOUT)
        gone = self.leaving.get(number, set())
        stay = [kept for kept in self.rows if kept.id not in gone]
        self.rows = sorted([*stay, *self.arriving.get(number, [])], key=lambda kept: kept.id)
        shown = self.rows if self.oldest_first else self.rows[::-1]
        first = (number - 1) * self.per_page
        return LogPage(
            rows=tuple(shown[first : first + self.per_page]),
            current_page=number,
            last_page=max(1, -(-len(shown) // self.per_page)),
            total=len(shown),
        )
