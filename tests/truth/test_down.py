"""A session that is not connected: learnt in every way there is, confirmed, left in peace, and back at once."""

import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.drain.scene import working
from tests.real_servers import wait_until
from tests.truth.stage import Stage
from worker import health, hearing
from worker.domain.channel_state import ChannelState

DOWN, UP = ChannelState.DOWN, ChannelState.UP


def state(stage: Stage) -> ChannelState:
    found: ChannelState = stage.crm.channel().state
    return found


def counted_questions(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What WaSender answered to "are you connected?", each time it was asked."""
    answers: list[str] = []
    real = stage.parts.gateway.status

    def status(key: str) -> Any:
        answers.append((report := real(key)).word)
        return report

    monkeypatch.setattr(stage.parts.gateway, "status", status)
    return answers


# Learning it


@pytest.mark.parametrize("http_status", [200, 400, 409, 422, 500])
def test_a_refused_send_stops_the_channel_whatever_its_http_status_and_costs_no_attempt(
    stage: Stage, http_status: int
) -> None:
    stage.sandbox.switch("down_http_status", http_status)
    stage.sandbox.set_status("default", "logged_out", quiet=True)
    stage.crm.set_channel("default", unacked_window=20)
    stage.crm.enqueue([f"{index}" for index in range(30)])

    stage.send()

    assert (state(stage), stage.crm.channel().reason) == (DOWN, "logged_out")
    assert len(stage.sandbox.requests()) <= 4, "more than was in flight tried its luck"
    assert {(row.state.value, row.attempts, row.error_code) for row in stage.crm.messages()} == {("queued", 0, None)}
    news = stage.crm.events(None)[-1]
    assert (news.after, news.reason, news.source) == ("down", "logged_out", "worker")
    (outage,) = stage.outages()
    assert (outage.state, outage.noticed_by) == (DOWN, "worker")


def test_a_webhook_stops_the_channel_before_a_single_message_is_risked(
    stage: Stage, webhooks: threading.Event
) -> None:
    stage.sandbox.set_status("default", "need_scan")
    assert webhooks.wait(5)
    stage.hear()
    stage.crm.enqueue(["one"])
    stage.send()

    assert (state(stage), stage.crm.channel().reason) == (DOWN, "need_scan")
    assert stage.sandbox.requests() == []


def test_a_webhook_that_the_status_denies_moves_nothing(
    stage: Stage, webhooks: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = counted_questions(stage, monkeypatch)
    for word in ("need_scan", "logged_out", "never heard of"):
        stage.webhook("session.status", {"status": word})
        stage.hear()
    assert state(stage) is UP
    assert answers == ["connected"] * 3


def test_the_poll_notices_it_and_the_other_way_round(stage: Stage) -> None:
    stage.sandbox.set_status("default", "disconnected")
    stage.live(30, until=lambda: state(stage) is DOWN)
    stage.sandbox.scan("default")
    stage.live(30, until=lambda: state(stage) is UP)
    (outage,) = stage.outages()
    assert (outage.noticed_by, outage.ended_by) == ("status", "status")


def test_spurious_refusals_stop_no_channel_and_cost_no_attempt(stage: Stage) -> None:
    stage.sandbox.switch("spurious_not_connected", 0.3)
    stage.crm.set_channel("default", unacked_window=20)
    stage.crm.enqueue([f"{index}" for index in range(25)])

    stage.live(300, step_s=4, until=lambda: set(stage.crm.states()) == {"delivered"})

    assert len(stage.sandbox.requests(decision="refused")) >= 3
    assert sorted(stage.crm.texts(), key=int) == [f"{index}" for index in range(25)]
    assert {row.attempts for row in stage.crm.messages()} == {1}
    assert {row.after for row in stage.crm.events(None)} <= {"unknown", "up"}


# While it lasts


def test_while_down_nothing_is_sent_no_message_is_touched_and_wasender_is_asked_once_an_interval(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.sandbox.set_status("default", "need_scan")
    stage.live(30, until=lambda: state(stage) is DOWN)
    stage.crm.enqueue([f"{index}" for index in range(40)])
    stage.beat()
    before = stage.crm.messages()
    answers = counted_questions(stage, monkeypatch)
    interval_s = stage.parts.settings.check_interval_s

    for _ in range(10):
        stage.pass_time(interval_s)
        for _ in range(2):  # two schedules, as it can happen
            stage.beat()

    assert answers == ["need_scan"] * 10
    assert stage.sandbox.requests() == []
    assert stage.crm.messages() == aged(before, 10 * interval_s), "a message was touched"
    assert len(stage.outages()) == 1


def aged(rows: Sequence[Any], seconds: float) -> list[tuple[Any, ...]]:
    by = timedelta(seconds=seconds)
    return [tuple(value - by if isinstance(value, datetime) else value for value in row) for row in rows]


def test_accepted_messages_are_left_alone_while_their_channel_is_down_but_for_one_last_question(stage: Stage) -> None:
    stage.crm.set_channel("default", unacked_window=20)
    stage.sandbox.mute("default")
    stage.crm.enqueue(["one", "two"])
    stage.send()
    stage.sandbox.set_status("default", "need_scan")
    stage.live(40, until=lambda: state(stage) is DOWN)
    stage.live(30)
    asked_at = [row.asked_at for row in stage.crm.messages()]

    stage.live(600, step_s=60)

    by = timedelta(seconds=600)
    assert [row.asked_at for row in stage.crm.messages()] == [at and at - by for at in asked_at]


# The way back


def test_a_channel_that_is_back_starts_with_a_single_message(stage: Stage) -> None:
    stage.crm.set_channel("default", unacked_window=20)
    stage.sandbox.set_status("default", "need_scan")
    stage.live(30, until=lambda: state(stage) is DOWN)
    stage.crm.enqueue([f"{index}" for index in range(10)])
    stage.sandbox.scan("default")
    stage.pass_time(30)
    stage.check()
    stage.send()
    assert len(stage.sandbox.requests()) == 1


def test_the_first_message_goes_out_within_two_seconds_of_the_webhook(
    stage: Stage, webhooks: threading.Event
) -> None:
    stage.sandbox.set_status("default", "need_scan")
    assert webhooks.wait(5)
    stage.hear()
    stage.crm.enqueue([f"{index}" for index in range(50)])
    webhooks.clear()
    with working(stage.parts) as wake:
        stage.sandbox.scan("default")
        told_at = time.time()
        assert webhooks.wait(5)
        if hearing.hear_webhooks(stage.parts):
            wake()
        wait_until(stage.sandbox.requests, within_s=5, what="the first message")
    assert stage.sandbox.requests()[0].arrived_at - told_at < 2


def in_trouble(stage: Stage) -> None:
    """WaSender has answered no send for a while, so the channel rests for minutes."""
    fault = stage.sandbox.fault("error")
    stage.crm.enqueue([f"lost {index}" for index in range(12)])
    stage.live(900, step_s=10, until=lambda: stage.crm.channel().failures >= 8)
    stage.sandbox.clear_faults(fault)
    now = stage.parts.clock()
    assert (stage.crm.channel().rest_until - now).total_seconds() > 100
    stage.send()


def lost_and_linked_again(stage: Stage) -> None:
    stage.sandbox.set_status("default", "need_scan")
    assert not asked_now(stage)
    assert state(stage) is DOWN
    stage.sandbox.scan("default")
    assert asked_now(stage)


def asked_now(stage: Stage) -> bool:
    stage.crm.set_channel("default", check_due_at=stage.parts.clock())
    return health.check_now(stage.parts, stage.crm.channel().id)


def test_the_trouble_before_a_reconnect_holds_up_nothing_after_it(stage: Stage) -> None:
    in_trouble(stage)
    before = len(stage.sandbox.requests())

    lost_and_linked_again(stage)
    stage.send()

    assert len(stage.sandbox.requests()) == before + 1
    assert stage.crm.channel().failures == 0


def test_a_mute_session_that_is_linked_again_is_tried_at_once_after_any_trouble(stage: Stage) -> None:
    in_trouble(stage)
    stage.crm.set_channel("default", state="mute", probe_at=stage.parts.clock() + timedelta(hours=1))
    before = len(stage.sandbox.requests())

    lost_and_linked_again(stage)
    stage.send()

    assert (state(stage), len(stage.sandbox.requests())) == (ChannelState.MUTE, before + 1)


def test_what_wasender_asked_us_to_wait_for_outlasts_a_reconnect(stage: Stage) -> None:
    stage.sandbox.fault("throttled", count=1, retry_after=60)
    stage.crm.enqueue(["one"])
    stage.send()

    lost_and_linked_again(stage)
    stage.send()
    assert len(stage.sandbox.requests()) == 1
    stage.live(70, until=lambda: len(stage.sandbox.requests()) == 2)


def test_a_run_that_waits_out_a_rest_hears_of_the_reconnect(stage: Stage) -> None:
    stage.parts.settings.drain_run_s = 30
    stage.crm.set_channel("default", failures=4, unacked_window=20)
    stage.sandbox.fault("error", count=1, endpoint="send-message")
    stage.crm.enqueue(["lost", "next"])
    with working(stage.parts) as wake:
        wake()
        wait_until(lambda: stage.crm.channel().failures == 5, within_s=10, what="the trouble")
        assert stage.crm.channel().lease_token is not None
        lost_and_linked_again(stage)
        told_at = time.time()
        wake()
        wait_until(lambda: len(stage.sandbox.requests()) == 2, within_s=10, what="the next message")
    assert stage.sandbox.requests()[1].arrived_at - told_at < 2


def test_without_webhooks_it_goes_out_within_one_check_interval(stage: Stage) -> None:
    interval_s = stage.parts.settings.check_interval_s = 1.0
    stage.sandbox.set_status("default", "need_scan")
    stage.live(30, until=lambda: state(stage) is DOWN)
    stage.crm.enqueue(["one"])
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(interval_s):
            if health.check_channels(stage.parts):
                wake()

    with working(stage.parts) as wake:
        thread = threading.Thread(target=beat)
        thread.start()
        time.sleep(0.3)  # so that it comes back in the middle of an interval
        stage.sandbox.scan("default")
        back_at = time.time()
        wait_until(stage.sandbox.requests, within_s=5, what="the first message")
        ended.set()
        thread.join()
    assert stage.sandbox.requests()[0].arrived_at - back_at < interval_s + 0.5
