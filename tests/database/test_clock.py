"""The shared clock: it is the database's, it never goes back, and it goes on while the database is away."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests.outbox.cuttable_line import CuttableLine
from tests.outbox.desk import NOON, Desk
from worker import clock
from worker.clock import DatabaseClock
from worker.database import DatabaseAway, open_engine, snapshot

Hands = Callable[[float], None]


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """Moves this process's monotonic clock, which stands still otherwise."""
    now = [1000.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])

    def go(seconds: float) -> None:
        now[0] += seconds

    return go


class Told(DatabaseClock):
    """A clock whose database tells what the test wants it to tell."""

    database_time: datetime | Exception = NOON
    questions = 0

    def _told(self) -> datetime:
        self.questions += 1
        if isinstance(self.database_time, Exception):
            raise self.database_time
        return self.database_time


@pytest.fixture
def told(sqlite_desk: Desk, monotonic: Hands) -> Told:
    return Told(sqlite_desk.engine)


def away() -> Exception:
    return DatabaseAway[0]("SELECT 1", None, Exception("gone"))


def test_in_between_the_monotonic_clock_tells_the_time_without_a_question(told: Told, monotonic: Hands) -> None:
    assert told() == NOON
    monotonic(59)
    assert told() == NOON + timedelta(seconds=59)
    assert told.questions == 1
    monotonic(1)
    told.database_time = NOON + timedelta(seconds=63)
    assert told() == NOON + timedelta(seconds=63)


def test_a_database_whose_clock_is_set_back_takes_no_time_back(told: Told, monotonic: Hands) -> None:
    before = told()
    told.database_time = NOON - timedelta(hours=1)
    for _ in range(200):
        monotonic(7)
        now = told()
        assert now == before + timedelta(seconds=7)
        before = now


def test_while_the_database_is_away_the_time_goes_on_and_it_is_asked_again_soon(told: Told, monotonic: Hands) -> None:
    told()
    told.database_time = away()
    for seconds in range(60, 90):
        monotonic(60 if seconds == 60 else 1)
        assert told() == NOON + timedelta(seconds=seconds)
    assert 1 < told.questions <= 1 + 30 / clock.RETRY_S
    told.database_time = NOON + timedelta(seconds=100)
    monotonic(clock.RETRY_S)
    assert told() == told.database_time


def test_without_any_answer_yet_there_is_no_time_to_tell(told: Told) -> None:
    told.database_time = away()
    with pytest.raises(DatabaseAway):
        told()
    told.database_time = NOON
    assert told() == NOON


def test_two_clocks_on_one_database_agree_with_it(desk: Desk) -> None:
    first, second = DatabaseClock(desk.engine), DatabaseClock(desk.engine)
    readings = [first(), second(), first(), second()]
    assert readings[-1] - readings[0] < timedelta(seconds=2)
    assert {reading.utcoffset() for reading in readings} == {timedelta(0)}
    if desk.engine.dialect.name == "postgresql":
        with snapshot(desk.engine) as connection:
            database_time = connection.execute(select(func.clock_timestamp())).scalar_one()
        assert abs(database_time - first()) < timedelta(seconds=2)


def test_no_thread_ever_sees_the_time_go_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "ANCHOR_S", 0.001)
    shared = DatabaseClock(desk.engine)

    def watch(_: int) -> list[datetime]:
        return [shared() for _ in range(150)]

    with ThreadPoolExecutor(8) as pool:
        for readings in pool.map(watch, range(8)):
            assert readings == sorted(readings)


def test_a_cut_line_does_not_stop_the_clock(postgres_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "ANCHOR_S", 0.0)
    with CuttableLine(postgres_desk.engine.url.render_as_string(hide_password=False)) as line:
        engine = open_engine(line.url)
        shared = DatabaseClock(engine)
        before = shared()
        line.cut()
        assert before < shared() < datetime.now(UTC) + timedelta(minutes=1)
        assert line.refused
        engine.dispose()
