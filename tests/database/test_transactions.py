"""Transactions: durable, locked from their start on SQLite, and never in each other's way when one only reads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Connection, DateTime, create_engine, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from tests.outbox.desk import ALICE, NOON, Desk
from worker.database import DatabaseAway, open_engine, snapshot, transaction
from worker.domain.message_status import MessageState
from worker.models import Channel, Event, Message


def test_sqlite_is_durable_and_lets_readers_and_writers_pass(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with snapshot(engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    engine.dispose()


def test_postgresql_sessions_are_in_utc_and_commit_durably(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with snapshot(engine) as connection:
        assert connection.execute(text("SHOW timezone")).scalar_one() == "UTC"
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    engine.dispose()


def test_a_writing_transaction_on_sqlite_takes_the_lock_at_its_start(sqlite_desk: Desk) -> None:
    database = sqlite_desk.engine.url.database
    other_process = create_engine(f"sqlite:///{database}", connect_args={"timeout": 0})
    with transaction(sqlite_desk.engine) as connection:
        connection.execute(select(Channel.id))
        with other_process.connect() as other, pytest.raises(OperationalError, match="locked"):
            other.exec_driver_sql("BEGIN IMMEDIATE")
    with other_process.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        other.rollback()
    other_process.dispose()


def test_a_reader_blocks_no_writer_and_sees_one_moment(desk: Desk) -> None:
    channel_id = desk.channel()
    with snapshot(desk.engine) as reader:
        assert reader.execute(select(Channel.failures)).scalar_one() == 0
        desk.set_channel(channel_id, failures=7)
        if desk.engine.dialect.name == "sqlite":
            assert reader.execute(select(Channel.failures)).scalar_one() == 0
    assert desk.channel_row(channel_id).failures == 7


def test_a_writer_blocks_no_reader(desk: Desk) -> None:
    channel_id = desk.channel()
    with transaction(desk.engine) as writer:
        writer.execute(update(Channel).values(failures=7))
        assert desk.channel_row(channel_id).failures == 0


def test_a_snapshot_writes_nothing(desk: Desk) -> None:
    channel_id = desk.channel()
    with snapshot(desk.engine) as connection:
        connection.execute(update(Channel).values(failures=7))
    assert desk.channel_row(channel_id).failures == 0


def test_many_threads_that_count_up_lose_no_count(desk: Desk) -> None:
    channel_id = desk.channel()

    def count_up(_: int) -> None:
        desk.set_channel(channel_id, failures=Channel.failures + 1)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(count_up, range(60)))
    assert desk.channel_row(channel_id).failures == 60


def test_an_error_in_a_transaction_undoes_all_of_it_and_frees_the_lock(desk: Desk) -> None:
    channel_id = desk.channel()

    def fail(connection: Connection) -> None:
        connection.execute(update(Channel).values(failures=7))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        desk.write(fail)
    thread = threading.Thread(target=desk.set_channel, args=(channel_id,), kwargs={"failures": Channel.failures + 1})
    thread.start()
    thread.join(5)
    assert desk.channel_row(channel_id).failures == 1


def test_a_message_of_no_channel_and_a_word_that_is_no_state_are_refused(desk: Desk) -> None:
    channel_id = desk.channel()
    stray = {"channel_id": channel_id + 1000, "at": NOON, "source": "api", "after": "x", "reason": ""}
    with pytest.raises(IntegrityError):
        desk.write(lambda c: c.execute(insert(Event).values(**stray)))
    seq = desk.enqueue(channel_id)
    with pytest.raises(StatementError):
        desk.write(lambda c: c.execute(update(Message).values(state="lost")))
    assert desk.state(seq) is MessageState.QUEUED


@pytest.mark.parametrize(
    "time",
    [
        NOON,
        NOON.replace(microsecond=999_999),
        NOON.astimezone(timezone(timedelta(hours=5, minutes=30))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_time_comes_back_as_the_same_moment_in_utc(desk: Desk, time: datetime) -> None:
    channel_id = desk.channel()
    desk.set_channel(channel_id, checked_at=time)
    told = desk.channel_row(channel_id).checked_at
    assert told == time
    assert told.utcoffset() == timedelta(0)
    assert desk.read(select(Channel.id).where(Channel.checked_at == time))
    assert isinstance(Channel.__table__.c.checked_at.type.impl, DateTime)


def test_a_time_without_a_zone_is_refused(desk: Desk) -> None:
    channel_id = desk.channel()
    with pytest.raises(StatementError, match="without a zone"):
        desk.set_channel(channel_id, checked_at=NOON.replace(tzinfo=None))
    assert desk.channel_row(channel_id).checked_at is None


def test_texts_and_numbers_stay_out_of_database_errors(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id, ALICE, text="a secret")
    (row,) = desk.read(select(Message.__table__).where(Message.seq == seq))
    again = {name: value for name, value in row._mapping.items() if name != "seq"}
    with pytest.raises(IntegrityError) as caught:
        desk.write(lambda c: c.execute(insert(Message.__table__).values(**again)))
    assert "a secret" not in str(caught.value)
    assert ALICE[1:] not in str(caught.value)


def test_a_database_that_is_not_there_is_away(tmp_path: Path) -> None:
    engine = open_engine(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    with pytest.raises(DatabaseAway), transaction(engine):
        pass
    engine.dispose()


def test_a_pool_whose_connections_all_hang_is_away_too(sqlite_desk: Desk) -> None:
    engine = create_engine(sqlite_desk.engine.url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with engine.connect(), pytest.raises(DatabaseAway), transaction(engine):
        pass
    engine.dispose()
