"""A database that fails between the commits of a run: nothing is lost or sent twice, every answer is kept."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from tests.drain.scene import Crm, drain, number, overlaps, terminate_connections, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import drain as draining
from worker.database import DatabaseAway
from worker.drain import Drainer
from worker.parts import Parts


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "TROUBLE_PAUSE_S", 0.05)


def away() -> OperationalError:
    return OperationalError("COMMIT", None, Exception("server closed the connection unexpectedly"))


class Trouble:
    """Makes commits of one engine fail, before they are made or with only their answer lost, in turns of its own."""

    def __init__(self, parts: Parts, monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], str]) -> None:
        self.commits = 0
        self.struck: Counter[str] = Counter()
        dialect: Any = parts.engine.dialect
        real = dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.commits += 1
            how = fails(self.commits)
            self.struck[how] += 1
            if how == "not committed":
                raise away()
            real(connection)
            if how == "answer lost":
                raise away()

        monkeypatch.setattr(dialect, "do_commit", do_commit)


@pytest.mark.parametrize("how", ["not committed", "answer lost"])
def test_failing_commits_lose_and_double_nothing(
    crm: Crm,
    build: Callable[..., Parts],
    database_url: str,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    names = ["default", "two", "three"]
    crm.channels("two", "three")
    sandbox.latency(before="0.005-0.03")
    for name in names:
        crm.enqueue([f"{name} {index}" for index in range(15)], channel=name, to=lambda index: number(index % 4))
    parts = build(database_url)
    trouble = Trouble(parts, monkeypatch, lambda commit: how if commit % 3 == 0 else "")

    drain(parts)

    assert trouble.struck[how] >= 3
    copies = Counter(entry.text for entry in sandbox.ledger())
    assert len(copies) == 45, "a message was lost"
    assert set(copies.values()) == {1}, "a message was sent twice"
    assert set(crm.states()) == {"accepted"}
    assert {row.attempts for row in crm.messages()} == {1}, "a claim that was put back counts as an attempt"
    assert len(crm.attempts()) == 45
    assert overlaps(sandbox) == []
    assert {row.lease_token for row in map(crm.channel, names)} == {None}


def test_refusals_whose_commit_answers_are_lost_keep_every_message(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.fault("throttled", count=2, retry_after=1)
    crm.enqueue(["one", "two", "three"], to=lambda _: number(1))
    parts = build(database_url)
    Trouble(parts, monkeypatch, lambda commit: "answer lost" if commit % 2 else "")

    drain(parts)

    assert crm.texts() == ["one", "two", "three"]
    assert set(crm.states()) == {"accepted"}
    assert [request.decision for request in sandbox.requests()] == ["refused"] * 2 + ["accepted"] * 3
    assert [row.reason for row in crm.events(1)].count("throttled") == 2
    assert {row.attempts for row in crm.messages()} == {1}, "being told to wait counts as an attempt"


def test_an_answer_that_comes_while_the_database_is_away_is_recorded_when_it_is_back(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    sandbox.latency(before=0.3)
    parts = build(database_url, TRUETICK_DRAIN_RUN_S=0.2)
    is_away = threading.Event()

    @event.listens_for(parts.engine, "begin")
    def _fail(_connection: Any) -> None:
        if is_away.is_set():
            raise away()

    crm.enqueue(["hello"])
    run = threading.Thread(target=drain, args=[parts])
    run.start()
    wait_until(sandbox.requests, within_s=3, what="the POST")
    is_away.set()
    wait_until(lambda: crm.texts() == ["hello"], within_s=3, what="the acceptance")
    time.sleep(0.3)
    assert crm.states() == ["sending"]
    is_away.clear()
    run.join(5)

    assert crm.states() == ["accepted"]
    assert crm.channel().lease_token is None


@pytest.mark.parametrize("trouble", ["throttled", "not connected"])
def test_what_an_answer_said_about_its_channel_outlasts_a_lease_that_ran_out_meanwhile(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox, trouble: str
) -> None:
    sandbox.latency(before=1.0)  # so that the database is away in time
    if trouble == "throttled":
        sandbox.fault("throttled", count=1, retry_after=60)
    else:
        sandbox.set_status("default", "need_scan", quiet=True)
    parts = build(database_url, TRUETICK_DRAIN_RUN_S=5, TRUETICK_LEASE_S=1)
    is_away = threading.Event()

    @event.listens_for(parts.engine, "begin")
    def _fail(_connection: Any) -> None:
        if is_away.is_set():
            raise away()

    crm.enqueue(["hello"])
    run = threading.Thread(target=drain, args=[parts])
    run.start()
    wait_until(sandbox.requests, within_s=3, what="the POST")
    is_away.set()
    crm.enqueue(["next"], to=lambda _: number(1))
    wait_until(lambda: sandbox.requests()[0].answered_at, within_s=10, what="the answer")
    wait_until(lambda: crm.channel().lease_expires_at < parts.clock(), within_s=10, what="the end of the lease")
    time.sleep(0.3)  # in which the run hears the answer
    is_away.clear()
    run.join(20)

    assert not run.is_alive()
    assert len(sandbox.requests()) == 1, "the run forgot what it had been told"
    channel = crm.channel()
    if trouble == "throttled":
        assert (channel.next_slot_at - parts.clock()).total_seconds() > 30
        assert channel.slowdown > 1
    else:
        assert (channel.state, channel.reason) == ("down", "need_scan")


def test_a_worker_that_begins_without_its_database_sends_once_it_is_there(
    crm: Crm, build: Callable[..., Parts], database_url: str
) -> None:
    parts = build(database_url, TRUETICK_DRAIN_RUN_S=0.2)
    is_away = threading.Event()
    is_away.set()

    @event.listens_for(parts.engine, "do_connect")
    def _fail(*_: Any) -> None:
        if is_away.is_set():
            raise away()

    crm.enqueue(["hello"])
    drainer = Drainer()
    with suppress(*DatabaseAway):
        drainer.drain(parts, lambda: None)
    is_away.clear()
    drainer.drain(parts, lambda: None)

    assert crm.texts() == ["hello"]


def test_a_stopping_worker_does_not_wait_for_ever_for_its_database(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "LAST_WORDS_S", 0.5)
    sandbox.latency(before=0.3)
    parts = build(database_url)
    crm.enqueue(["hello"])
    run = threading.Thread(target=drain, args=[parts])
    run.start()
    wait_until(sandbox.requests, within_s=3, what="the POST")
    trouble = Trouble(parts, monkeypatch, lambda _: "not committed")
    parts.stopping.set()
    run.join(5)

    assert not run.is_alive()
    assert trouble.commits < 40, "it tried again without a pause"


def test_connections_that_the_database_ends_lose_and_double_nothing(
    build: Callable[..., Parts], postgres_url: str, sandbox: Sandbox
) -> None:
    parts, crm = build(postgres_url), Crm(build(postgres_url), sandbox)
    sandbox.create_channel("default", api_key="5a" * 32, limit="none")
    crm.channels("default", "two")
    sandbox.latency(before="0.005-0.03")
    for name in ("default", "two"):
        crm.enqueue([f"{name} {index}" for index in range(60)], channel=name, to=lambda index: number(index % 7))
    with working(parts, sweeping=False) as wake:
        wake()
        for _ in range(4):
            before = len(sandbox.ledger())
            wait_until(lambda: len(sandbox.ledger()) > before + 10, within_s=5, what="progress")  # noqa: B023
            terminate_connections(crm.parts)
        wait_until(lambda: set(crm.states()) == {"accepted"}, within_s=10, what="the end of the queue")

    assert set(Counter(entry.text for entry in sandbox.ledger()).values()) == {1}
    assert len(sandbox.ledger()) == 120
