"""What a personal access token adds to an outage, while WaSender answers some of its questions and not others."""

from datetime import timedelta
from typing import Any

import pytest

from tests.truth.conftest import TOKEN
from tests.truth.stage import Stage
from worker import health, recovery
from worker.channels import outages
from worker.domain.channel_state import ChannelState


@pytest.fixture
def options() -> dict[str, object]:
    return {"WASENDER_PERSONAL_ACCESS_TOKEN": TOKEN}


def restarts(stage: Stage) -> int:
    return int(stage.sandbox.channel("default")["restarts"])


def gone_mute(stage: Stage) -> None:
    """And it stays mute, whoever restarts it."""
    stage.sandbox.switch("restart_unmutes", False)
    stage.crm.set_channel("default", unacked_window=4)
    stage.sandbox.mute("default")
    stage.crm.enqueue([f"{index}" for index in range(4)])
    stage.send()
    stage.live(200, until=lambda: stage.crm.channel().state is ChannelState.MUTE)


def test_a_restart_that_could_not_be_asked_for_is_asked_for_later_and_once(stage: Stage) -> None:
    fault = stage.sandbox.fault("error", endpoint="list-sessions")
    gone_mute(stage)
    stage.live(300)
    (outage,) = stage.outages()
    assert (restarts(stage), outage.restarted_at, outage.restart_result) == (0, None, "gateway_error")

    stage.sandbox.clear_faults(fault)
    stage.live(300, until=lambda: restarts(stage) == 1)
    stage.live(3600, step_s=120)

    (outage,) = stage.outages()
    assert (restarts(stage), outage.restart_result) == (1, "restarted")


def test_while_wasender_cannot_be_asked_it_is_asked_ever_more_rarely(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stage.parts.account is not None
    asked = []
    real = stage.parts.account.sessions

    def sessions() -> Any:
        asked.append(None)
        return real()

    monkeypatch.setattr(stage.parts.account, "sessions", sessions)
    stage.sandbox.fault("error", endpoint="list-sessions")
    gone_mute(stage)
    stage.live(1200)

    assert 5 <= len(asked) <= 15


@pytest.mark.parametrize(("kind", "when"), [("error", "before"), ("reset", "after")])
def test_a_restart_whose_answer_was_lost_is_not_asked_for_again(stage: Stage, kind: str, when: str) -> None:
    stage.sandbox.fault(kind, when=when, endpoint="restart", count=1)
    gone_mute(stage)
    stage.live(3600, step_s=60)
    (outage,) = stage.outages()
    assert outage.restarted_at is not None
    assert restarts(stage) == (1 if when == "after" else 0)


def test_an_outage_is_dated_by_the_first_log_that_can_be_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "LOGS_WRITTEN_AFTER", timedelta(0))
    monkeypatch.setattr(recovery, "AGAIN_AFTER", (timedelta(0), timedelta(0)))
    stage.sandbox.set_status("default", "need_scan")
    health.check_now(stage.parts, stage.crm.channel().id)
    told = []
    for endpoint in ("list-sessions", "session-logs", None):
        if endpoint:
            stage.sandbox.fault("error", endpoint=endpoint, count=1)
        recovery.recover(stage.parts)
        told.append(stage.outages()[0].began_by)
    assert told[:2] == [told[0]] * 2 != ["session_logs"] * 2
    assert told[2] == "session_logs"
    assert stage.outages()[0].logs_due_at is None
