"""What looks like a mute session and is none: slow ticks, phones that are off, lost webhooks, silent questions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.drain.scene import number
from tests.truth.stage import Stage
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack
from worker.evidence import notice_silence
from worker.outbox.questions import take_due_checks

TIMEOUT_S = 60  # the usual one


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """With a window that is wide already, as it is on a channel that has been up for a while."""
    stage.crm.set_channel("default", unacked_window=20)
    return stage


def always_up(stage: Stage) -> bool:
    """Since it came up."""
    return {row.after for row in stage.crm.events(None)} <= {ChannelState.UNKNOWN, ChannelState.UP}


def send_and_tick_after(stage: Stage, texts: list[str], seconds: float) -> None:
    """The session holds its ticks back for so long."""
    ticked = len(stage.sandbox.ledger(acked=True))
    stage.sandbox.mute("default")
    stage.crm.enqueue(texts)
    stage.send()
    stage.live(seconds)
    stage.sandbox.unmute("default")
    stage.ticks(ticked + len(texts))
    stage.live(25)


def test_a_slow_channel_is_not_mute(stage: Stage) -> None:
    send_and_tick_after(stage, ["one", "two"], 0.8 * TIMEOUT_S)
    assert always_up(stage)
    assert stage.crm.states() == ["delivered"] * 2


def test_a_channel_whose_slowness_is_known_may_take_longer_than_the_timeout(stage: Stage) -> None:
    for round_ in range(4):
        send_and_tick_after(stage, [f"{round_}-{index}" for index in range(4)], 0.8 * TIMEOUT_S)
    assert stage.crm.channel().tick_latency_s > 0.7 * TIMEOUT_S

    send_and_tick_after(stage, ["later than the timeout"], 1.7 * TIMEOUT_S)

    assert always_up(stage)


@pytest.fixture
def slow_ticks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """From the first message on WhatsApp's ticks take so long: longer than the timeout, and nobody knew."""
    slowness = timedelta(seconds=100)
    real = stage.parts.gateway.message_info

    def message_info(key: str, gateway_msg_id: int) -> Any:
        info = real(key, gateway_msg_id)
        accepted = {row.gateway_msg_id: row.finished_at for row in stage.crm.attempts()}
        young = stage.parts.clock() - accepted[gateway_msg_id] < slowness
        return replace(info, ack=Ack.PENDING) if young and info.ack is not None else info

    monkeypatch.setattr(stage.parts.gateway, "message_info", message_info)
    return slowness


@pytest.mark.parametrize("window", [1, 20])
def test_a_channel_that_is_slow_from_the_first_message_on_is_taken_for_mute_once_at_most_and_sends_nothing_twice(
    stage: Stage, slow_ticks: timedelta, window: int
) -> None:
    stage.crm.set_channel("default", unacked_window=window)
    stage.crm.enqueue([f"{index}" for index in range(25)])
    stage.send()

    stage.live(1800, until=lambda: set(stage.crm.states()) <= {"sent", "delivered"})

    assert [row.after for row in stage.crm.events(None)].count("mute") <= 1
    assert stage.crm.channel().tick_latency_s >= slow_ticks.total_seconds()
    assert len(stage.sandbox.ledger()) == 25, "what was only late was sent again"
    assert {row.resends for row in stage.crm.messages()} == {0}


def test_a_phone_that_is_off_stays_at_one_tick_and_says_nothing_about_the_channel(stage: Stage) -> None:
    stage.sandbox.recipients(never_delivered=[number(0), number(1)])
    stage.crm.enqueue(["one", "two"])
    stage.send()
    stage.live(5 * TIMEOUT_S, step_s=10)
    assert always_up(stage)
    assert stage.crm.states() == ["sent", "sent"]


def test_recipients_who_are_never_ticked_do_not_silence_a_channel_on_which_others_are(stage: Stage) -> None:
    stage.sandbox.recipients(never_ticked=[number(0), number(1)])
    for index in range(12):
        stage.crm.enqueue([f"{index}"], to=lambda _, index=index: number(index))
        stage.send()
        stage.live(20, step_s=10)
    assert always_up(stage)
    assert stage.crm.states() == ["accepted"] * 2 + ["delivered"] * 10
    assert len(stage.sandbox.requests()) == 12, "a missing tick alone caused a resend"


@pytest.mark.usefixtures("webhooks")
def test_lost_webhooks_cost_only_time(stage: Stage) -> None:
    stage.sandbox.webhooks(lost=1.0)
    stage.crm.enqueue([f"{index}" for index in range(5)])
    stage.send()
    stage.live(30, until=lambda: set(stage.crm.states()) == {"delivered"})
    assert always_up(stage)


def test_questions_that_are_not_answered_for_a_moment_prove_nothing(stage: Stage) -> None:
    fault = stage.sandbox.fault("error", endpoint="info")
    stage.crm.enqueue([f"{index}" for index in range(20)])
    stage.send()
    stage.live(2 * TIMEOUT_S)
    assert always_up(stage)
    stage.sandbox.clear_faults(fault)
    stage.live(2 * TIMEOUT_S, step_s=10, until=lambda: set(stage.crm.states()) == {"delivered"})
    assert always_up(stage)


def test_an_hour_without_a_schedule_is_an_hour_without_questions_and_no_silence(stage: Stage) -> None:
    stage.crm.enqueue([f"{index}" for index in range(20)])
    stage.send()
    stage.pass_time(3600)
    stage.ask()
    assert always_up(stage)
    assert "accepted" not in stage.crm.states()
    assert stage.crm.channel().tick_latency_s < TIMEOUT_S, "the schedule's pause was taken for the channel's slowness"


def test_nor_is_it_when_another_process_is_just_asking(stage: Stage) -> None:
    stage.crm.enqueue([f"{index}" for index in range(20)])
    stage.send()
    stage.pass_time(3600)
    with transaction(stage.parts.engine) as connection:
        assert take_due_checks(connection, now=stage.parts.clock(), most=100)
    assert not notice_silence(stage.parts)
    assert always_up(stage)


def test_nor_is_it_when_the_first_questions_after_it_get_no_answer(stage: Stage) -> None:
    stage.crm.enqueue([f"{index}" for index in range(20)])
    stage.send()
    stage.pass_time(3600)
    fault = stage.sandbox.fault("html", endpoint="info", count=2)
    stage.ask()
    assert always_up(stage)
    stage.sandbox.clear_faults(fault)
    stage.live(90, until=lambda: "accepted" not in stage.crm.states())
    assert always_up(stage)
