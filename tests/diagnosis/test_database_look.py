"""What the database says of ticks, outages and silence, read alike from each of them."""

from collections.abc import Callable

import pytest

from tests.diagnosis.conftest import OPTIONS, Ward
from tests.truth import stage as staging
from tests.truth.stage import Stage
from wasender_sandbox.control import Sandbox
from worker.channels import registry, states
from worker.database import transaction
from worker.domain.evidence import Connection, ConnectionReport
from worker.outbox.events import Source
from worker.parts import Parts

Tick = Callable[[], None]


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    staging.set_up(sandbox)
    return build(database_url, **OPTIONS)


def test_a_channel_that_comes_back_by_wasenders_word_has_to_prove_itself_anew(
    ward: Ward, stage: Stage, tick_one: Tick
) -> None:
    tick_one()
    stage.sandbox.set_status("default", "need_scan")
    stage.pass_time(30)
    stage.check()
    assert ward.found("sending_proven") == ("failed", "need_scan")

    stage.sandbox.scan("default")
    assert ward.found("sending_proven") == ("unverified", "coming_back")

    stage.pass_time(30)
    stage.check()
    assert ward.found("sending_proven") == ("unverified", "never_proven")

    tick_one()
    assert ward.found("sending_proven") == ("ok", "ticked")


def test_a_tick_of_before_the_outage_that_is_learnt_after_it_proves_nothing(ward: Ward, stage: Stage) -> None:
    stage.crm.enqueue(["ticked, but nobody asks"])
    stage.send()
    stage.ticks(1)
    stage.sandbox.set_status("default", "need_scan")
    stage.pass_time(30)
    stage.check()
    stage.sandbox.scan("default")
    stage.pass_time(30)
    stage.check()
    stage.pass_time(1)
    stage.ask()

    assert stage.crm.states() == ["delivered"]
    assert ward.found("sending_proven") == ("unverified", "never_proven")


def test_a_mute_channel_fails_though_it_says_connected_and_the_tick_that_ends_it_is_proof(
    ward: Ward, stage: Stage
) -> None:
    stage.sandbox.mute("default")
    stage.crm.enqueue(["swallowed"])
    stage.send()
    stage.live(600, until=lambda: stage.crm.channel().state == "mute")

    findings = ward.findings()
    assert (findings["session_connected"].verdict, findings["sending_proven"].verdict) == ("ok", "failed")
    assert findings["sending_proven"].code == "no_ticks"
    assert findings["backlog"].code == "outage"

    stage.sandbox.unmute("default")
    stage.live(2000, until=lambda: stage.crm.channel().state == "up")
    assert ward.found("sending_proven") == ("ok", "ticked")


def test_a_message_overdue_for_its_tick_is_reason_to_doubt(ward: Ward, stage: Stage, tick_one: Tick) -> None:
    tick_one()
    stage.crm.set_channel("default", next_slot_at=stage.parts.clock())
    stage.sandbox.mute("default")
    stage.crm.enqueue(["no tick yet"])
    stage.send()
    stage.pass_time(ward.parts.settings.ack_timeout_s + 1)
    stage.check()

    assert ward.found("sending_proven") == ("unverified", "awaiting_tick")


def test_an_outage_that_a_drain_runs_own_question_ends_proves_nothing(
    ward: Ward, stage: Stage, tick_one: Tick
) -> None:
    """A run asks "are you connected?" after a refusal; that is WaSender's word, too, and no tick."""
    tick_one()
    stage.sandbox.set_status("default", "need_scan")
    stage.pass_time(30)
    stage.check()
    stage.sandbox.scan("default")
    said = ConnectionReport(connection=Connection.CONNECTED, word="connected")
    with transaction(stage.parts.engine) as connection:
        channel_id = registry.channel_id(connection, "default")
        states.apply_report(connection, channel_id, said, now=stage.parts.clock(), source=Source.WORKER)

    assert stage.outages()[-1].ended_by == "worker"
    assert ward.found("sending_proven") == ("unverified", "never_proven")
