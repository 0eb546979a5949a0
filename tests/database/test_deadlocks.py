"""Transactions that wait for each other: PostgreSQL breaks one of them off, and that is no database that is away."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from worker import tasks
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import transaction, was_broken_off
from worker.domain.pace import Pace
from worker.parts import Parts
from worker.readiness import trouble_of

_LOCK = text("SELECT id FROM channels WHERE name = :name FOR UPDATE")


@pytest.fixture
def parts(build: Callable[..., Parts], postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Parts of a worker's tasks, with two channels: one and two."""
    parts = build(postgres_url)
    with transaction(parts.engine) as connection:
        for name in ("one", "two"):
            new = NewChannel(name=name, pace=Pace(1, 1), api_key_encrypted=parts.vault.seal("5a" * 32))
            registry.add(connection, new, parts.clock())
    monkeypatch.setattr(tasks, "parts", lambda: parts)
    return parts


def lock_both(connection: Connection, first: str, second: str, both_have_one: threading.Barrier) -> None:
    connection.execute(_LOCK, {"name": first})
    both_have_one.wait(5)
    connection.execute(_LOCK, {"name": second})


def lose_a_deadlock(parts: Parts) -> None:
    """The other one is given so much more patience that this one is broken off."""
    both_have_one = threading.Barrier(2)

    def rival() -> None:
        with transaction(parts.engine) as connection:
            connection.execute(text("SET LOCAL deadlock_timeout = '30s'"))
            lock_both(connection, "two", "one", both_have_one)

    thread = threading.Thread(target=rival)
    thread.start()
    try:
        with transaction(parts.engine) as connection:
            connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            lock_both(connection, "one", "two", both_have_one)
    finally:
        thread.join(10)


def test_a_deadlock_is_told_as_what_it_was(parts: Parts) -> None:
    with pytest.raises(OperationalError) as caught:
        lose_a_deadlock(parts)

    assert was_broken_off(caught.value)
    trouble = trouble_of(parts.engine, caught.value)
    assert trouble is not None
    assert trouble.code == "deadlock"
    assert "DATABASE_URL" not in trouble.message


def test_a_database_that_is_away_has_broken_nothing_off() -> None:
    assert not was_broken_off(OperationalError("COMMIT", None, Exception("server closed the connection")))


def test_a_task_that_was_broken_off_is_done_again(parts: Parts) -> None:
    done: list[str] = []

    def work() -> None:
        done.append("begun")
        if len(done) < 3:
            lose_a_deadlock(parts)
        done.append("ended")

    tasks._database_permitting(work)()

    assert done == ["begun", "begun", "begun", "ended"]


def test_a_task_that_is_broken_off_every_time_is_left_to_the_next_tick(parts: Parts) -> None:
    tries: list[None] = []

    def work() -> None:
        tries.append(None)
        lose_a_deadlock(parts)

    tasks._database_permitting(work)()

    assert len(tries) == tasks.MOST_TRIES
