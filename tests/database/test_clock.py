"""The shared clock: it is the database's, it never goes back, and it goes on while the database is away."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests.outbox.cuttable_line import CuttableLine
from tests.outbox.desk import NOON, Desk
from worker import clock
from worker.clock import DatabaseClock
from worker.database import DatabaseAway, open_engine, snapshot


class Machine:
    """The two clocks of a machine, which stand still unless they are moved."""

    def __init__(self) -> None:
        self.boot_s, self.wall_s = 1000.0, 1_700_000_000.0

    def __call__(self, seconds: float) -> None:
        """Time goes on."""
        self.boot_s += seconds
        self.wall_s += seconds

    def set_wall(self, seconds: float) -> None:
        """The wall clock is put right, after a pause that the other one has not seen, or set to another time."""
        self.wall_s += seconds


@pytest.fixture
def monotonic() -> Machine:
    return Machine()


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
def told(sqlite_desk: Desk, monotonic: Machine) -> Told:
    return Told(sqlite_desk.engine, boot_s=lambda: monotonic.boot_s, wall_s=lambda: monotonic.wall_s)


def away() -> Exception:
    return DatabaseAway[0]("SELECT 1", None, Exception("gone"))


def test_in_between_the_monotonic_clock_tells_the_time_without_a_question(told: Told, monotonic: Machine) -> None:
    assert told() == NOON
    monotonic(59)
    assert told() == NOON + timedelta(seconds=59)
    assert told.questions == 1
    monotonic(1)
    told.database_time = NOON + timedelta(seconds=63)
    assert told() == NOON + timedelta(seconds=63)


def test_a_database_whose_clock_is_set_back_takes_no_time_back(told: Told, monotonic: Machine) -> None:
    before = told()
    told.database_time = NOON - timedelta(hours=1)
    for _ in range(200):
        monotonic(7)
        now = told()
        assert now == before + timedelta(seconds=7)
        before = now


def test_while_the_database_is_away_the_time_goes_on_and_it_is_asked_again_soon(
    told: Told, monotonic: Machine
) -> None:
    told()
    told.database_time = away()
    for seconds in range(60, 90):
        monotonic(60 if seconds == 60 else 1)
        assert told() == NOON + timedelta(seconds=seconds)
    assert 1 < told.questions <= 1 + 30 / clock.RETRY_S
    told.database_time = NOON + timedelta(seconds=100)
    monotonic(clock.RETRY_S)
    assert told() == told.database_time


def test_a_machine_that_was_paused_asks_the_database_before_it_tells_a_time(told: Told, monotonic: Machine) -> None:
    """Its boot clock has stood still, so a lease would seem to last that has long been over."""
    told()
    monotonic(5)
    told.database_time = NOON + timedelta(seconds=45)
    monotonic.set_wall(40)
    assert told() == NOON + timedelta(seconds=45)
    assert told.questions == 2
    monotonic(5)
    assert told() == NOON + timedelta(seconds=50)
    assert told.questions == 2, "it asks each time"


def test_a_machine_that_was_paused_and_has_lost_its_database_believes_that_its_leases_are_over(
    told: Told, monotonic: Machine
) -> None:
    told()
    told.database_time = away()
    monotonic.set_wall(40)
    assert told() == NOON + timedelta(seconds=40)
    assert told() == NOON + timedelta(seconds=40)
    assert told.questions == 2
    monotonic(clock.RETRY_S)
    told.database_time = NOON + timedelta(seconds=50)
    assert told() == told.database_time


def test_a_wall_clock_that_is_set_back_takes_no_time_back(told: Told, monotonic: Machine) -> None:
    told()
    monotonic(10)
    monotonic.set_wall(-3600)
    told.database_time = away()
    assert told() == NOON + timedelta(seconds=10)
    told.database_time = NOON + timedelta(seconds=20)
    monotonic(10)
    assert told() == NOON + timedelta(seconds=20)


def test_a_wall_clock_that_is_trimmed_costs_no_question(told: Told, monotonic: Machine) -> None:
    told()
    for _ in range(50):
        monotonic(1)
        monotonic.set_wall(0.01)
        told()
    assert told.questions == 1


def test_no_thread_goes_on_with_the_old_time_while_another_asks_after_a_pause(told: Told, monotonic: Machine) -> None:
    told()
    monotonic.set_wall(40)
    may_answer, readings = threading.Event(), list[datetime]()

    def slow() -> datetime:
        assert may_answer.wait(5)
        return NOON + timedelta(seconds=40)

    told._told = slow  # type: ignore[method-assign]
    threads = [threading.Thread(target=lambda: readings.append(told())) for _ in range(4)]
    for thread in threads:
        thread.start()
    threads[0].join(0.2)
    assert readings == []
    may_answer.set()
    for thread in threads:
        thread.join(5)
    assert readings == [NOON + timedelta(seconds=40)] * 4


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="there is none here")
def test_the_clock_is_the_one_that_goes_on_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock.time, "clock_gettime", {time.CLOCK_BOOTTIME: 7.0}.__getitem__)
    assert clock.boot_s() == 7.0


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
