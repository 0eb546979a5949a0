"""A session that says "connected" while nothing goes out: noticed soon, believed by no word, left by one tick."""

import time
from datetime import timedelta
from itertools import pairwise

import pytest

from tests.drain.scene import number, working
from tests.real_servers import wait_until
from tests.truth.conftest import TOKEN
from tests.truth.stage import Stage
from worker import health
from worker.channels import states
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.outbox.events import Source

DOWN, MUTE, UP = ChannelState.DOWN, ChannelState.MUTE, ChannelState.UP
TIMEOUT_S = 60  # the usual one


def state(stage: Stage) -> ChannelState:
    found: ChannelState = stage.crm.channel().state
    return found


def warmed_up(stage: Stage, messages: int = 40) -> None:
    """So many messages were sent and ticked, so that the window is wide."""
    stage.crm.enqueue([f"earlier {index}" for index in range(messages)], to=lambda index: number(500 + index))
    stage.live(300, until=lambda: set(stage.crm.states()) <= {"sent", "delivered"})
    assert stage.crm.channel().unacked_window == 20


def gone_mute(stage: Stage, count: int = 30, *, then: str = "later") -> None:
    """With a wide window the session goes mute, and Truetick has noticed."""
    warmed_up(stage)
    stage.sandbox.mute("default", then=then)
    stage.crm.enqueue([f"{index}" for index in range(count)])
    stage.send()
    stage.live(300, until=lambda: state(stage) is MUTE)


def test_a_channel_that_starts_sends_one_message_and_twice_as_many_with_every_round_of_ticks(stage: Stage) -> None:
    stage.crm.enqueue([f"{index}" for index in range(60)])
    rounds = []
    while len(stage.sandbox.ledger()) < 60:
        before = len(stage.sandbox.ledger())
        stage.send()
        rounds.append(len(stage.sandbox.ledger()) - before)
        stage.ticks(sum(rounds))
        stage.pass_time(3)
        stage.ask()
    assert rounds[:6] == [1, 2, 4, 8, 16, 20]
    assert stage.crm.channel().unacked_window == 20


def test_a_mute_session_is_noticed_within_two_minutes_and_endangers_no_more_than_the_window(stage: Stage) -> None:
    warmed_up(stage)
    before = len(stage.sandbox.requests())
    stage.sandbox.mute("default")
    stage.crm.enqueue([f"{index}" for index in range(50)])
    stage.send()

    noticed_s = stage.live(300, until=lambda: state(stage) is MUTE)

    assert TIMEOUT_S <= noticed_s <= 120
    assert len(stage.sandbox.requests()) - before == 20, "an outage endangered more than the window"
    assert stage.crm.states()[40:] == ["accepted"] * 20 + ["queued"] * 30
    assert "sent" not in stage.crm.states()[40:]


def test_the_event_says_what_the_silence_was_and_the_open_messages_are_asked_about_soon(stage: Stage) -> None:
    gone_mute(stage)

    news = stage.crm.events(None)[-1]
    assert (news.before, news.after, news.reason, news.source) == ("up", "mute", "no_ticks", "info")
    assert news.evidence["unticked"] == 20
    assert news.evidence["oldest_s"] >= TIMEOUT_S
    assert news.evidence["asked"] is True
    accepted = [row for row in stage.crm.messages() if row.state == "accepted"]
    now = stage.parts.clock()
    assert max((row.next_check_at - now).total_seconds() for row in accepted) <= 10
    (outage,) = stage.outages()
    assert (outage.state, outage.began_by, outage.ended_at) == (MUTE, "first_unticked", None)
    assert {row.message_seq for row in stage.at_risk()} == {row.seq for row in accepted}


def test_a_mute_channel_tries_one_message_at_a_time_and_ever_more_rarely(stage: Stage) -> None:
    gone_mute(stage)
    before = len(stage.sandbox.requests())
    probed_at, lived_s = [], 0.0
    while len(probed_at) < 4:
        lived_s += stage.live(2000, step_s=10, until=lambda: len(stage.sandbox.requests()) > before + len(probed_at))
        assert len(stage.sandbox.requests()) == before + len(probed_at) + 1, "two were tried at once"
        probed_at.append(lived_s)

    assert state(stage) is MUTE
    pauses = [after - one for one, after in pairwise(probed_at)]
    assert probed_at[0] <= 20
    for pause, expected in zip(pauses, [60, 120, 240], strict=True):
        assert expected <= pause <= expected + 10, pauses


def test_one_tick_brings_a_mute_channel_up_and_it_starts_slowly(stage: Stage) -> None:
    gone_mute(stage, then="stuck")
    stage.sandbox.unmute("default")
    before = len(stage.sandbox.requests())

    stage.live(120, step_s=2, until=lambda: state(stage) is UP)

    assert len(stage.sandbox.requests()) == before + 1 + 1, "more than the probe and the first one of a slow start"
    news = stage.crm.events(None)[-1]
    assert (news.before, news.after, news.reason) == ("mute", "up", "ticked")
    assert stage.crm.channel().unacked_window <= 2
    (outage,) = stage.outages()
    assert outage.ended_at is not None
    stage.live(120, until=lambda: "queued" not in stage.crm.states())


@pytest.fixture
def with_token(options: dict[str, object]) -> None:
    options["WASENDER_PERSONAL_ACCESS_TOKEN"] = TOKEN


@pytest.mark.usefixtures("with_token")
def test_with_a_token_a_mute_session_is_restarted_once_and_that_brings_it_back(stage: Stage) -> None:
    gone_mute(stage)

    stage.live(120, until=lambda: state(stage) is UP)

    assert stage.sandbox.channel("default")["restarts"] == 1
    (outage,) = stage.outages()
    assert outage.restart_result == "restarted"
    stage.live(240, until=lambda: set(stage.crm.states()) <= {"sent", "delivered"})
    assert stage.sandbox.verdict()["duplicates"] == 0


@pytest.mark.usefixtures("with_token")
def test_a_restart_that_does_not_help_is_not_repeated_in_the_same_outage(stage: Stage) -> None:
    stage.sandbox.switch("restart_unmutes", False)
    gone_mute(stage)
    before = len(stage.sandbox.requests())
    stage.live(1200, step_s=100)

    assert state(stage) is MUTE
    assert stage.sandbox.channel("default")["restarts"] == 1
    assert len(stage.sandbox.requests()) >= before + 4, "no single message was tried after it"


def restarting(stage: Stage, *, unmutes: bool) -> None:
    """The mute session was restarted, and its own word is that it is connecting, and then connected, once more."""
    stage.sandbox.switch("restart_unmutes", unmutes)
    stage.sandbox.switch("restart_connecting_s", 3600)
    gone_mute(stage, then="stuck")
    stage.live(60, until=lambda: state(stage) is DOWN)
    assert stage.sandbox.channel("default")["restarts"] == 1
    stage.live(30)
    assert len(stage.sandbox.ledger()) == 60, "something was sent while it was connecting"
    stage.sandbox.set_status("default", "connected")


@pytest.mark.usefixtures("with_token")
def test_a_mute_session_that_says_connected_after_its_restart_is_tried_at_once_and_believed_by_a_tick(
    stage: Stage,
) -> None:
    restarting(stage, unmutes=True)

    stage.live(60, until=lambda: state(stage) is UP)

    news = [(row.before, row.after, row.reason) for row in stage.crm.events(None)[-3:]]
    assert news == [
        ("mute", "down", "connecting"),
        ("down", "mute", "connected_again"),
        ("mute", "up", "ticked"),
    ]
    (outage,) = stage.outages()
    assert (outage.ended_at is None, outage.ended_by) == (False, "info")


@pytest.mark.usefixtures("with_token")
def test_a_restart_that_goes_by_connecting_and_does_not_help_ends_no_outage_and_uses_up_no_resend(
    stage: Stage,
) -> None:
    restarting(stage, unmutes=False)
    for _ in range(4):
        stage.live(30, until=lambda: state(stage) is MUTE)
        before = len(stage.sandbox.requests())
        stage.beat()
        assert len(stage.sandbox.requests()) <= before + 1
        stage.live(300, step_s=30)
        assert state(stage) is MUTE
        stage.sandbox.set_status("default", "connecting")
        stage.live(30, until=lambda: state(stage) is DOWN)
        stage.sandbox.set_status("default", "connected")
    stage.live(2000, step_s=100)

    (outage,) = stage.outages()
    assert outage.ended_at is None
    assert stage.sandbox.channel("default")["restarts"] == 1
    assert {row.resends for row in stage.crm.messages()} == {0}
    assert len(stage.sandbox.ledger()) > 64, "no single message was tried any more"
    assert "up" not in [row.after for row in stage.crm.events(None)[-9:]]


def test_a_mute_session_that_was_lost_and_linked_again_tries_one_message_first(stage: Stage) -> None:
    gone_mute(stage, then="stuck")
    stage.sandbox.set_status("default", "need_scan")
    stage.live(30, until=lambda: state(stage) is DOWN)
    stage.sandbox.unmute("default")
    stage.sandbox.scan("default")
    before = len(stage.sandbox.requests())
    stage.pass_time(30)
    assert health.check_channels(stage.parts), "nobody was woken to try it"
    stage.send()

    assert len(stage.sandbox.requests()) == before + 1
    assert state(stage) is MUTE
    stage.live(60, until=lambda: state(stage) is UP)


def test_without_a_token_nothing_is_restarted(stage: Stage) -> None:
    gone_mute(stage)
    stage.live(60)
    assert stage.sandbox.channel("default")["restarts"] == 0
    (outage,) = stage.outages()
    assert outage.restarted_at is None


def test_the_ticks_that_a_mute_spell_held_back_do_not_make_the_next_one_hard_to_notice(stage: Stage) -> None:
    gone_mute(stage)
    stage.pass_time(7200)
    stage.sandbox.unmute("default")
    stage.live(600, until=lambda: set(stage.crm.states()) <= {"sent", "delivered"})
    stage.sandbox.mute("default")
    stage.crm.enqueue([f"again {index}" for index in range(30)])
    stage.send()

    assert stage.live(600, until=lambda: state(stage) is MUTE) <= 120


def test_a_channel_that_refuses_every_send_while_it_calls_itself_connected_is_mute_and_comes_back(
    stage: Stage,
) -> None:
    fault = stage.sandbox.fault("not_connected")
    stage.crm.enqueue([f"{index}" for index in range(5)])
    stage.live(300, step_s=10, until=lambda: state(stage) is MUTE)

    news = stage.crm.events(None)[-1]
    assert (news.after, news.reason) == ("mute", "refuses_sends")
    assert news.evidence["refusals"] >= 3
    assert {(row.state.value, row.attempts) for row in stage.crm.messages()} == {("queued", 0)}
    stage.live(3600, step_s=100)
    assert len({request.to for request in stage.sandbox.requests()}) == 5, "not each had its turn"
    assert {row.refusals for row in stage.crm.messages()} == {1}, "the outage was held against them"
    stage.sandbox.clear_faults(fault)
    stage.live(1200, step_s=10, until=lambda: set(stage.crm.states()) <= {"sent", "delivered"})
    assert state(stage) is UP
    assert sorted(stage.crm.texts()) == [f"{index}" for index in range(5)]


def test_the_late_news_of_an_old_tick_is_no_reason_to_blame_the_message_that_is_refused(stage: Stage) -> None:
    stage.crm.enqueue(["ticked before"])
    stage.send()
    stage.ticks(1)
    stage.sandbox.fault("not_connected")
    stage.crm.set_channel("default", unacked_window=20)
    stage.crm.enqueue(["refused"], to=lambda _: number(91))
    stage.send()
    stage.pass_time(3)
    stage.ask()
    assert stage.crm.messages()[0].state in {"sent", "delivered"}, "its tick was to be learnt only now"

    assert stage.live(600, step_s=10, until=lambda: state(stage) is MUTE) <= 180

    assert (stage.crm.messages()[1].state, stage.crm.messages()[1].refusals) == ("queued", 1)


def test_a_session_that_breaks_is_mute_in_the_end_even_if_only_a_message_waits_that_was_refused_alone(
    stage: Stage,
) -> None:
    stage.sandbox.fault("not_connected")
    stage.crm.enqueue(["refused, while others were taken"])
    long_ago = stage.parts.clock() - timedelta(seconds=60)
    stage.crm.set_message(1, refusals=2, refused_at=long_ago, retry_at=long_ago)

    stage.live(1200, step_s=30, until=lambda: state(stage) is MUTE)

    assert len(stage.outages()) == 1
    assert stage.crm.states() == ["queued"]


def test_a_status_that_lies_about_a_session_that_is_gone_does_not_hide_it(stage: Stage) -> None:
    stage.sandbox.set_status("default", "logged_out", quiet=True)
    stage.sandbox.lie("default", "connected")
    stage.crm.enqueue(["one", "two"])

    stage.live(300, step_s=10, until=lambda: state(stage) is MUTE)

    assert stage.crm.states() == ["queued", "queued"]


def test_a_run_that_was_sending_when_the_channel_became_mute_tries_one_message_at_a_time_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "FIRST_PROBE_AFTER", timedelta(0))
    parts, sandbox = stage.parts, stage.sandbox
    parts.settings.drain_run_s = 3
    parts.settings.gateway_read_timeout_s = 5
    stage.crm.set_channel("default", unacked_window=20)
    sandbox.mute("default")
    sandbox.latency(before=0.4)
    stage.crm.enqueue([f"{index}" for index in range(20)])
    with working(parts) as wake:
        wake()
        wait_until(lambda: len(sandbox.requests()) == 4, within_s=3, what="four POSTs at once")
        with transaction(parts.engine) as connection:
            channel_id = stage.crm.channel().id
            assert states.go_mute(
                connection, channel_id, "no_ticks", now=parts.clock(), source=Source.INFO, evidence={}
            )
        wait_until(lambda: len(sandbox.ledger()) >= 5, within_s=4, what="the first single message")
        wake()
        time.sleep(0.6)  # in which others would follow, were there any
    assert len(sandbox.requests()) == 5
    assert stage.crm.channel().probes == 1


def test_in_a_pool_a_channel_that_was_linked_again_comes_back_by_the_next_strangers_tick(stage: Stage) -> None:
    stage.crm.channels("north", "south", window=20)
    for name in ("north", "south"):
        stage.crm.set_channel(name, pool="main")
    stage.check()
    stage.sandbox.mute("north", then="stuck")
    stage.crm.enqueue(["swallowed"], channel="north")
    stage.live(300, until=lambda: stage.crm.channel("north").state is ChannelState.MUTE)
    stage.sandbox.set_status("north", "logged_out")
    stage.live(300, until=lambda: stage.crm.channel("north").state is ChannelState.DOWN)
    stage.sandbox.unmute("north")
    stage.sandbox.scan("north")
    stage.live(300, until=lambda: stage.crm.channel("north").reason == "connected_again")

    for index in range(5):
        stage.crm.enqueue([f"to a stranger {index}"], to=lambda _, index=index: number(100 + index), pool="main")
        stage.live(30)

    assert stage.crm.channel("north").state is ChannelState.UP
    assert set(stage.crm.states()) == {"delivered"}
