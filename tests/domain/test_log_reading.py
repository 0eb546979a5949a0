"""Reading a log that grows, shrinks and breaks while it is read, in an order that nobody has promised."""

import pytest

from tests.domain.log_scene import PagedLog, at, doubted, hidden, row
from worker.domain.account import LogPage, LogRow, ProblemCode
from worker.domain.log_reading import LogReading, read_log


def rows(*ids: int) -> list[LogRow]:
    return [row(number, f"text {number}") for number in ids]


def read(log: PagedLog, after: int | None = 100, **options: int) -> LogReading:
    return read_log(log, [doubted(after=after)], began_at=at(10), **options)


def ids(reading: LogReading) -> list[int]:
    return [kept.id for kept in reading.rows]


def test_pages_are_read_until_they_reach_well_past_what_is_doubted() -> None:
    log = PagedLog(rows(*range(1, 121)))
    reading = read(log)
    assert log.asked == [1, 2, 3, 4, 5, 6], "twenty rows after id 100, ten before it"
    assert ids(reading) == list(range(120, 90, -1))
    assert not reading.whole
    assert reading.reaches(doubted(after=100))
    assert not reading.reaches(doubted(after=99))


def test_the_oldest_attempt_decides_how_far() -> None:
    log = PagedLog(rows(*range(1, 121)))
    reading = read_log(log, [doubted(1, after=110), doubted(2, after=30)], began_at=at(10))
    assert ids(reading)[-1] == 21


def test_a_short_log_is_read_whole() -> None:
    log = PagedLog(rows(98, 99, 101))
    reading = read(log)
    assert (log.asked, reading.whole, ids(reading)) == ([1], True, [101, 99, 98])
    assert read(PagedLog([])).whole


def test_a_log_in_another_order_is_read_to_its_end() -> None:
    log = PagedLog(rows(*range(80, 112)), oldest_first=True)
    reading = read(log)
    assert len(log.asked) == 7
    assert reading.whole
    assert reading.reaches(doubted(after=100))


def test_a_long_log_in_another_order_reaches_nothing() -> None:
    log = PagedLog(rows(*range(80, 400)), oldest_first=True)
    reading = read(log)
    assert len(log.asked) == 20, "and not one page more"
    assert not reading.reaches(doubted(after=100))


def test_rows_that_move_to_the_next_page_are_counted_once() -> None:
    log = PagedLog(rows(*range(90, 112)))
    log.arriving = {2: rows(112, 113), 3: rows(114)}
    reading = read(log)
    assert ids(reading) == list(range(111, 89, -1))
    assert reading.newest_first
    assert reading.reaches(doubted(after=100))


def test_a_row_counts_as_it_was_seen_last() -> None:
    log = PagedLog([*rows(101), row(102, status="in_progress"), *rows(103, 104, 105, 106)])
    log.leaving = {2: {102}}
    log.arriving = {2: [row(102, status="failed"), *rows(107)]}
    statuses = {kept.id: kept.status for kept in read(log).rows}
    assert statuses[102] == "failed"


def test_rows_that_are_deleted_meanwhile_leave_a_gap_that_shows() -> None:
    log = PagedLog(rows(*range(101, 112)))
    log.leaving = {2: {111, 110, 109}}
    reading = read(log)
    assert not {106, 105, 104} & set(ids(reading)), "they slipped to the page that had been read"
    assert not reading.whole


def test_a_page_that_cannot_be_had_ends_the_reading() -> None:
    log = PagedLog(rows(*range(80, 112)))
    log.broken_page = 2
    reading = read(log)
    assert reading.problem is not None
    assert reading.problem.code is ProblemCode.TIMEOUT
    assert ids(reading) == [111, 110, 109, 108, 107], "what was read is kept"
    assert not reading.reaches(doubted(after=100))


def test_a_server_that_gives_another_page_than_asked_for_ends_the_reading() -> None:
    first = PagedLog(rows(*range(80, 112)))(1)
    reading = read_log(lambda _number: first, [doubted()], began_at=at(10))
    assert not reading.whole
    assert len(reading.rows) == 5


def test_a_server_that_pages_for_ever_is_left_after_the_most_pages() -> None:
    asked: list[int] = []

    def endless(number: int) -> LogPage:
        asked.append(number)
        return LogPage(rows=tuple(rows(5000 - number)), current_page=number, last_page=None)

    reading = read_log(endless, [doubted()], began_at=at(10), most_pages=4)
    assert asked == [1, 2, 3, 4]
    assert not reading.whole


@pytest.mark.parametrize("per_page", [1, 3, 50])
def test_without_an_id_the_time_decides_how_far(per_page: int) -> None:
    old = [row(number, f"text {number}", minutes=-40 * 60) for number in range(1, 30)]
    new = [row(number, f"text {number}", minutes=-60) for number in range(30, 35)]
    reading = read_log(PagedLog([*old, *new], per_page), [doubted(after=None)], began_at=at(10))
    assert reading.reaches(doubted(after=None))
    assert len(reading.rows) >= 15


def test_rows_without_a_time_reach_no_time() -> None:
    timeless = [row(number, minutes=None) for number in range(1, 200)]
    reading = read_log(PagedLog(timeless), [doubted(after=None)], began_at=at(10), most_pages=10)
    assert not reading.reaches(doubted(after=None))


def test_one_misplaced_row_is_not_taken_for_the_end() -> None:
    reading = LogReading(began_at=at(10), rows=(*rows(130, 129), hidden(3), *rows(128)), whole=False)
    assert not reading.newest_first
    assert not reading.reaches_id(100)
