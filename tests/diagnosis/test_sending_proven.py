"""Sending is proven by a tick alone: never by a green status, never by a tick of the time before an outage."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.diagnosis.conftest import Ward
from tests.truth.stage import Stage
from worker.channels import registry, states
from worker.database import transaction
from worker.diagnosis import troubleshooting
from worker.domain.channel_state import KEY_ROTATION
from worker.parts import Parts

Tick = Callable[[], None]


def test_a_tick_of_lately_proves_it(ward: Ward, tick_one: Tick) -> None:
    tick_one()

    diagnosis = ward.diagnose()

    assert diagnosis.proven
    assert ward.found("sending_proven") == ("ok", "ticked")
    assert diagnosis.summary == "Sending is proven on channel default."


def test_a_channel_that_is_connected_is_not_proven_by_that(ward: Ward) -> None:
    assert ward.found("session_connected") == ("ok", "connected")
    assert ward.found("sending_proven") == ("unverified", "never_proven")
    assert "--test-to NUMBER" in (ward.findings()["sending_proven"].remedy or "")
    assert not ward.diagnose().proven


def test_an_old_tick_proves_nothing_any_more(ward: Ward, stage: Stage, tick_one: Tick) -> None:
    tick_one()
    stage.pass_time(3600)
    stage.check()

    assert ward.found("sending_proven") == ("ok", "ticked")
    assert ward.found("sending_proven", within=timedelta(minutes=30)) == ("unverified", "old_proof")


def test_a_checker_that_stands_still_leaves_everything_unverified(ward: Ward, stage: Stage, tick_one: Tick) -> None:
    tick_one()
    stage.pass_time(ward.parts.settings.check_interval_s * 4)

    findings = ward.findings()

    assert (findings["sending_proven"].verdict, findings["sending_proven"].code) == ("unverified", "stale")
    assert findings["beat"].verdict == "failed"
    assert not ward.diagnose().proven


def test_a_session_that_went_down_just_now_is_seen_before_the_workers_see_it(
    ward: Ward, stage: Stage, tick_one: Tick
) -> None:
    tick_one()
    stage.sandbox.set_status("default", "need_scan")

    findings = ward.findings()

    assert (findings["session_connected"].verdict, findings["session_connected"].code) == ("failed", "need_scan")
    assert (findings["sending_proven"].verdict, findings["sending_proven"].code) == ("failed", "need_scan")
    assert "QR code" in (findings["sending_proven"].remedy or "")


def test_a_status_that_lies_is_found_out(ward: Ward, stage: Stage, tick_one: Tick) -> None:
    tick_one()
    stage.sandbox.set_status("default", "logged_out", quiet=True)
    stage.sandbox.lie("default", "connected")
    stage.crm.set_channel("default", next_slot_at=stage.parts.clock())
    stage.crm.enqueue(["refused"])
    stage.send()

    findings = ward.findings()

    assert findings["session_connected"].verdict == "ok"
    assert findings["sending_proven"].verdict != "ok"
    stage.live(900, until=lambda: stage.crm.channel().state == "mute")
    assert ward.found("sending_proven") == ("failed", "refuses_sends")


@pytest.mark.parametrize("asked", [True, False])
def test_a_channel_whose_key_is_being_replaced_is_not_taken_for_one_that_a_person_paused(
    ward: Ward, stage: Stage, parts: Parts, asked: bool
) -> None:
    with transaction(stage.parts.engine) as connection:
        states.pause(connection, stage.crm.channel().id, now=stage.parts.clock(), reason=KEY_ROTATION)
    if not asked:
        parts.settings.gateway_api_key = None

    diagnosis = ward.diagnose()

    found = {finding.check: finding for finding in diagnosis.findings}
    assert (found["sending_proven"].verdict, found["sending_proven"].code) == ("failed", "key_rotation")
    assert "rotate-key" in str(found["sending_proven"].remedy)
    titles = [one.entry.title for one in troubleshooting.troubleshoot(diagnosis)]
    assert "A channel's key is being replaced" in titles
    assert "A person has paused the channel" not in titles


def test_a_session_that_is_connected_again_does_not_begin_the_silence_anew(
    ward: Ward, stage: Stage, tick_one: Tick
) -> None:
    tick_one()
    stage.sandbox.mute("default")
    stage.crm.set_channel("default", next_slot_at=stage.parts.clock())
    stage.crm.enqueue(["swallowed"])
    stage.send()
    stage.live(600, until=lambda: stage.crm.channel().state == "mute")
    stage.pass_time(3600)
    for status in ("need_scan", "connected"):
        stage.sandbox.set_status("default", status)
        stage.crm.set_channel("default", check_due_at=stage.parts.clock())
        stage.check()

    finding = ward.findings()["sending_proven"]

    assert (finding.verdict, finding.code) == ("failed", "connected_again")
    assert "for 1 h" in finding.evidence, finding.evidence


def test_a_paused_channel_says_that_a_person_did_it(ward: Ward, stage: Stage, tick_one: Tick) -> None:
    tick_one()
    with transaction(stage.parts.engine) as connection:
        states.pause(connection, registry.channel_id(connection, "default"), now=stage.parts.clock())

    finding = ward.findings()["sending_proven"]

    assert (finding.verdict, finding.code) == ("failed", "paused")
    assert "truetick channels resume default" in (finding.remedy or "")


def test_every_channel_with_a_key_has_to_be_proven(ward: Ward, stage: Stage, tick_one: Tick) -> None:
    tick_one()
    stage.crm.channels("sales", pace="1/5")
    stage.check()

    diagnosis = ward.diagnose()

    assert {channel.name: channel.verdict.value for channel in diagnosis.channels} == {
        "default": "ok",
        "sales": "unverified",
    }
    assert not diagnosis.proven
    assert "not proven on 1 of 2 channels: sales" in diagnosis.summary
    assert ward.diagnose(channel="default").proven
