"""Our own side: broker, workers, beat, database, backlog, each as it breaks in life."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError

from tests.conftest import API_KEY
from tests.diagnosis.conftest import OPTIONS, Line, Ward
from tests.live_stack import LiveStack
from tests.real_servers import Valkey, wait_until
from tests.truth.stage import Stage
from wasender_sandbox.control import Sandbox
from worker import migrate, revisions
from worker.channels import checks, overview, registry, states
from worker.channels.registry import NewChannel
from worker.database import snapshot, transaction
from worker.diagnosis import broker_line, diagnoser
from worker.diagnosis.broker_line import DRAIN_QUEUE, BrokerLine, QueueLook, WorkerReport
from worker.diagnosis.diagnoser import Diagnoser, TookTooLong
from worker.domain.pace import Pace
from worker.parts import Parts

Build = Callable[..., Parts]


@pytest.fixture
def brokered(sqlite_url: str, build: Build, stage: Stage, broker: Valkey, monkeypatch: pytest.MonkeyPatch) -> Ward:
    """On a real broker, to which nobody else is connected, so that nobody needs to be waited for."""
    monkeypatch.setattr(broker_line, "REPLY_S", 0.1)
    parts = build(sqlite_url, **OPTIONS, CELERY_BROKER_URL=broker.url)
    return Ward(parts, BrokerLine(parts.settings))


# The broker


def test_a_broker_without_workers_is_well_itself(brokered: Ward, stage: Stage) -> None:
    findings = brokered.findings()
    assert (findings["queue"].verdict, findings["queue"].code) == ("ok", "answers")
    # A check was taken up just now, so somebody must have been there.
    assert (findings["workers"].verdict, findings["workers"].code) == ("unverified", "silent")
    assert (findings["beat"].verdict, findings["beat"].code) == ("unverified", "silent")

    stage.pass_time(600)
    findings = brokered.findings()
    assert (findings["workers"].verdict, findings["workers"].code) == ("failed", "none")
    assert (findings["beat"].verdict, findings["beat"].code) == ("failed", "none")
    assert "truetick up" in (findings["workers"].remedy or "")


def test_a_broker_that_is_away_is_not_mistaken_for_missing_workers(brokered: Ward, broker: Valkey) -> None:
    broker.kill()

    findings = brokered.findings()

    assert (findings["queue"].verdict, findings["queue"].code) == ("failed", "broker_away")
    assert findings["workers"].verdict == "unverified"
    assert findings["beat"].verdict == "ok", "a check was taken up just now"


def test_a_frozen_broker_costs_seconds_and_is_named(brokered: Ward, broker: Valkey) -> None:
    begun = time.monotonic()
    with broker.frozen():
        found = brokered.found("queue")
    assert time.monotonic() - begun < 9
    assert found == ("failed", "broker_away")


def test_a_full_broker_is_told_from_one_that_is_away(brokered: Ward, broker: Valkey) -> None:
    broker.client.config_set("maxmemory", 1)

    assert brokered.found("queue") == ("failed", "broker_full")


def test_a_broker_that_is_a_replica_is_told_from_one_that_is_away(brokered: Ward, broker: Valkey) -> None:
    broker.client.replicaof("127.0.0.1", 1)
    try:
        finding = brokered.findings()["queue"]
    finally:
        broker.client.replicaof("NO", "ONE")
    assert (finding.verdict, finding.code) == ("failed", "broker_read_only")
    assert "primary" in (finding.remedy or "")


def test_wake_ups_that_pile_up_and_a_broker_that_would_throw_tasks_away_are_noticed(
    brokered: Ward, broker: Valkey
) -> None:
    broker.client.config_set("maxmemory", 10**9)
    broker.client.config_set("maxmemory-policy", "allkeys-lru")
    assert brokered.found("queue") == ("failed", "evicts")
    broker.client.lpush(DRAIN_QUEUE, *["{}"] * 101)
    assert brokered.found("queue") == ("failed", "piling_up")


def test_a_broker_that_cannot_count_is_trusted_as_far_as_it_answers(ward: Ward) -> None:
    assert Ward(ward.parts, Line(queue=QueueLook(waiting=None))).found("queue") == ("ok", "answers")
    full = QueueLook(waiting={}, used_bytes=99, most_bytes=100, policy="noeviction")
    assert Ward(ward.parts, Line(queue=full)).found("queue") == ("failed", "nearly_full")
    assert Ward(ward.parts, Line(answering=OutOfMemoryError())).found("workers") == ("unverified", "broker_full")


# Workers and beat


def test_real_workers_and_a_real_beat_answer_with_their_versions(
    sqlite_url: str, broker: Valkey, sandbox: Sandbox, build: Build, parts: Parts, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": sqlite_url,
        "CELERY_BROKER_URL": broker.url,
        "WASENDER_BASE_URL": sandbox.api_url,
        "WASENDER_API_KEY": API_KEY,
        "TRUETICK_VAR_DIR": str(tmp_path / "var"),
        "TRUETICK_CHECK_INTERVAL_S": "1",
    }
    here = build(sqlite_url, **OPTIONS, CELERY_BROKER_URL=broker.url, TRUETICK_CHECK_INTERVAL_S=1)
    ward = Ward(here, BrokerLine(here.settings))
    with LiveStack(tmp_path, environment) as stack:
        stack.worker("worker")
        stack.beat()
        stack.until_ready("worker")
        wait_until(lambda: ward.found("beat")[0] == "ok", within_s=15, what="beat's first tick")

        findings = ward.findings()
        assert findings["workers"].verdict == "ok"
        assert "worker@here (Truetick" in findings["workers"].evidence
        assert findings["clock"].verdict == "ok"

        stack.kill("beat")
        wait_until(lambda: ward.found("beat") == ("failed", "none"), within_s=15, what="the last check's ageing")
        assert ward.found("sending_proven")[0] == "unverified"


def test_workers_of_another_release_are_noticed(ward: Ward) -> None:
    old = WorkerReport(name="celery@old", truetick="0.0.9", celery="5.7", schema="0001")

    finding = Ward(ward.parts, Line(answering=(old,))).findings()["workers"]

    assert (finding.verdict, finding.code) == ("failed", "versions_differ")
    assert "celery@old (Truetick 0.0.9" in finding.evidence


def test_a_crms_own_worker_on_the_same_broker_is_not_taken_for_one_of_ours(ward: Ward, stage: Stage) -> None:
    """It answers every question, but sends nothing."""
    its_own = WorkerReport(name="celery@the-crm")
    ours = WorkerReport(name="celery@here", truetick="0.1.0", celery="5.7", schema=revisions.head())

    assert Ward(ward.parts, Line(answering=(its_own,))).found("workers") == ("unverified", "silent")
    assert Ward(ward.parts, Line(answering=(its_own, ours))).found("workers") == ("ok", "answer")
    stage.pass_time(600)
    finding = Ward(ward.parts, Line(answering=(its_own,))).findings()["workers"]
    assert (finding.verdict, finding.code) == ("failed", "none")
    assert "not Truetick's: celery@the-crm" in finding.evidence


def test_a_worker_whose_clock_is_off_is_noticed(ward: Ward) -> None:
    ahead = WorkerReport(name="celery@there", truetick="0.1.0", schema=revisions.head(), skew_s=300.0)

    assert Ward(ward.parts, Line(answering=(ahead,))).found("clock") == ("failed", "worker_off")


def test_workers_that_fall_behind_are_told_from_a_beat_that_is_dead(ward: Ward, stage: Stage) -> None:
    stage.pass_time(600)

    assert ward.found("beat") == ("failed", "workers_behind")
    assert Ward(ward.parts, Line(ticking=())).found("beat") == ("failed", "none")
    assert Ward(ward.parts, Line(ticking=OSError())).found("beat") == ("failed", "stale")


def test_a_person_who_resumes_a_channel_is_not_taken_for_a_worker(ward: Ward, stage: Stage) -> None:
    """Resuming makes the next check due at once, but nobody has taken that up."""
    stage.pass_time(600)
    with transaction(stage.parts.engine) as connection:
        channel_id = registry.channel_id(connection, "default")
        states.pause(connection, channel_id, now=stage.parts.clock())
        states.resume(connection, channel_id, now=stage.parts.clock())

    findings = Ward(ward.parts, Line(answering=(), ticking=())).findings()

    assert (findings["workers"].code, findings["beat"].code) == ("none", "none")
    with snapshot(stage.parts.engine) as connection:
        (standing,) = overview.standings(connection, now=stage.parts.clock(), check_interval_s=30)
    assert "No worker has asked" in (standing.action or "")


@pytest.mark.parametrize("act", ["asked", "new_key"])
def test_a_person_who_has_a_channel_checked_is_not_taken_for_a_worker(ward: Ward, stage: Stage, act: str) -> None:
    """Reconnecting it and giving it a key make it due at once, but nobody has taken that up."""
    stage.pass_time(600)
    parts, now = stage.parts, stage.parts.clock()
    with transaction(parts.engine) as connection:
        if act == "asked":
            checks.ask_now(connection, registry.channel_id(connection, "default"), now=now)
        else:
            new = NewChannel(name="sales", pace=Pace(1, 5), api_key_encrypted=parts.vault.seal("old"))
            sales = registry.add(connection, new, now - timedelta(minutes=5))
            states.replace_key(connection, sales, parts.vault.seal("new"), now=now)

    findings = Ward(ward.parts, Line(answering=(), ticking=())).findings()

    assert (findings["workers"].code, findings["beat"].code) == ("none", "none")
    with snapshot(parts.engine) as connection:
        standings = overview.standings(connection, now=now, check_interval_s=30)
    assert all("No worker has asked" in (standing.action or "") for standing in standings)


# The database


def test_without_a_database_the_rest_is_told_all_the_same(
    build: Build, tmp_path: Path, sandbox: Sandbox, parts: Parts
) -> None:
    nowhere = Ward(build(f"sqlite:///{tmp_path}/nowhere.db", **OPTIONS))

    findings = nowhere.findings()

    assert (findings["database"].verdict, findings["database"].code) == ("failed", "no_database")
    assert (findings["api_key"].verdict, findings["session_connected"].verdict) == ("ok", "ok")
    assert (findings["sending_proven"].verdict, findings["sending_proven"].code) == ("unverified", "database")
    assert not (tmp_path / "nowhere.db").exists()


def test_an_unmigrated_database_says_what_to_run(build: Build, tmp_path: Path, sandbox: Sandbox) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    migrate.upgrade(url, "0001")

    finding = Ward(build(url, **OPTIONS)).findings()["database"]

    assert (finding.verdict, finding.code) == ("failed", "database_not_migrated")
    assert "truetick db upgrade" in (finding.remedy or "")


def test_a_database_server_that_is_away_is_named_without_its_password(build: Build, sandbox: Sandbox) -> None:
    gone = Ward(build("postgresql://someone:secret@127.0.0.1:9/nothing", **OPTIONS))

    diagnosis = gone.diagnose()

    assert {finding.check: finding.code for finding in diagnosis.findings}["database"] == "database_away"
    assert "secret" not in str(diagnosis.as_json())


# The backlog, and the whole


def test_messages_that_wait_for_a_person_are_not_overlooked(ward: Ward, stage: Stage) -> None:
    stage.crm.enqueue(["who decides?"])
    assert ward.found("backlog") == ("ok", "flows")
    stage.crm.set_message(1, state="in_doubt", attention="in_doubt")

    finding = ward.findings()["backlog"]

    assert (finding.verdict, finding.code) == ("failed", "attention")
    assert "One message is waiting for a person" in finding.evidence


def test_what_failed_besides_is_named_where_sending_is_proven(ward: Ward, tick_one: Callable[[], None]) -> None:
    tick_one()
    full = QueueLook(waiting={}, used_bytes=99, most_bytes=100, policy="noeviction")

    diagnosis = Ward(ward.parts, Line(queue=full)).diagnose()

    assert diagnosis.proven
    assert diagnosis.summary == "Sending is proven on channel default. Failed all the same: queue."


def test_many_who_ask_at_once_share_one_examination(stage: Stage) -> None:
    asked: list[None] = []

    class Counting(Line):
        def look(self) -> QueueLook:
            asked.append(None)
            return super().look()

    diagnoser = Diagnoser(stage.parts, Counting())  # type: ignore[arg-type]
    for _ in range(5):
        diagnoser.diagnose()
    assert len(asked) == 1
    diagnoser.diagnose(channel="default")
    assert len(asked) == 2


def test_a_machine_that_is_too_slow_for_a_diagnosis_says_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnoser, "LONGEST_S", 0.0)

    with pytest.raises(TookTooLong, match="overloaded"):
        Diagnoser(stage.parts, Line()).diagnose()  # type: ignore[arg-type]
