"""Messages that WaSender took and an outage may have swallowed: sent again once, in order, when that is proven."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.drain.scene import number
from tests.truth.stage import Stage
from worker import doubt
from worker.channels import states
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.outbox import open_fates, people


def up(stage: Stage) -> bool:
    return stage.crm.channel().state is ChannelState.UP


def all_delivered(stage: Stage) -> bool:
    return set(stage.crm.states()) == {"delivered"}


def ledger_order(stage: Stage, recipient: str) -> list[str]:
    """The texts in the order in which WhatsApp got them."""
    got = [entry for entry in stage.sandbox.ledger(recipient=recipient) if entry.ack_index is not None]
    return [entry.text or "" for entry in sorted(got, key=lambda entry: entry.ack_index or 0)]


def mute_spell(stage: Stage, texts: list[str], *, then: str, to: Callable[[int], str] = number) -> None:
    """With its window wide the session goes mute, takes these messages, is noticed and wakes up again."""
    stage.crm.set_channel("default", unacked_window=20)
    stage.sandbox.mute("default", then=then)
    stage.crm.enqueue(texts, to=to)
    stage.send()
    stage.live(200, until=lambda: stage.crm.channel().state is ChannelState.MUTE)
    stage.sandbox.unmute("default")


def lost_session(stage: Stage, texts: list[str], *, then: str, down_s: float = 60) -> None:
    """The session takes these messages, is gone before it hands them over, and comes back."""
    stage.crm.set_channel("default", unacked_window=20)
    stage.sandbox.mute("default", then=then)
    stage.crm.enqueue(texts)
    stage.send()
    stage.sandbox.set_status("default", "need_scan")
    stage.sandbox.unmute("default")
    stage.live(40, until=lambda: stage.crm.channel().state is ChannelState.DOWN)
    stage.pass_time(down_s)
    stage.beat()
    assert stage.crm.channel().state is ChannelState.DOWN
    stage.sandbox.scan("default")
    stage.live(40, until=lambda: up(stage))


@pytest.mark.parametrize("outage", [mute_spell, lost_session])
def test_what_wasender_hands_over_later_is_not_sent_again(stage: Stage, outage: Callable[..., None]) -> None:
    outage(stage, [f"{index}" for index in range(6)], then="later")

    stage.live(300, step_s=10)

    assert all_delivered(stage)
    assert len(stage.sandbox.ledger()) == 6
    assert {(row.attempts, row.resends) for row in stage.crm.messages()} == {(1, 0)}


@pytest.mark.parametrize("then", ["stuck", "failed"])
@pytest.mark.parametrize("outage", [mute_spell, lost_session])
def test_what_was_swallowed_is_sent_again_once_after_the_recovery(
    stage: Stage, outage: Callable[..., None], then: str
) -> None:
    outage(stage, [f"{index}" for index in range(6)], then=then)
    stage.crm.enqueue(["proof of life"], to=lambda _: number(77))
    stage.live(200, until=lambda: up(stage))
    stage.live(40)
    assert len(stage.sandbox.ledger()) == 7, "it was sent again before message info could have told of a tick"

    stage.live(300, step_s=10, until=lambda: all_delivered(stage))

    assert stage.sandbox.verdict()["duplicates"] == 0
    assert Counter(stage.crm.texts(acked=True)) == Counter([*map(str, range(6)), "proof of life"])
    assert {(row.attempts, row.resends) for row in stage.crm.messages()[:6]} == {(2, 1)}
    assert "resent_after_outage" in [row.reason for row in stage.crm.events(1)]


def test_swallowed_twice_it_is_left_to_a_person(stage: Stage) -> None:
    mute_spell(stage, ["unlucky"], then="stuck")
    stage.crm.enqueue(["proof of life"], to=lambda _: number(77))
    stage.sandbox.recipients(never_ticked=number(0))
    stage.live(400, until=lambda: stage.crm.messages()[0].attempts == 2)
    stage.sandbox.mute("default", then="stuck")
    stage.crm.enqueue([f"again {index}" for index in range(3)], to=lambda index: number(50 + index))
    stage.live(300, until=lambda: stage.crm.channel().state is ChannelState.MUTE)
    stage.sandbox.unmute("default")
    stage.crm.enqueue(["more proof"], to=lambda _: number(78))

    stage.live(500, step_s=10, until=lambda: stage.crm.messages()[0].attention)

    unlucky = stage.crm.messages()[0]
    assert (unlucky.state, unlucky.attention, unlucky.attempts, unlucky.resends) == ("accepted", "no_tick", 2, 1)
    stage.live(300, step_s=30)
    assert len(stage.sandbox.ledger(text="unlucky")) == 2


@pytest.mark.parametrize("then", ["stuck", "failed"])
def test_under_the_policy_hold_nothing_is_sent_again(stage: Stage, then: str) -> None:
    stage.parts.settings.on_stuck = "hold"
    mute_spell(stage, ["one", "two"], then=then)
    stage.crm.enqueue(["proof of life"], to=lambda _: number(77))

    stage.live(400, step_s=10)

    assert len(stage.sandbox.ledger()) == 3
    assert stage.crm.states()[2] == "delivered"
    wants = {"stuck": ("accepted", "no_tick"), "failed": ("failed", None)}[then]
    assert {(row.state.value, row.attention) for row in stage.crm.messages()[:2]} == {wants}


@pytest.mark.usefixtures("webhooks")
@pytest.mark.parametrize("on_stuck", ["hold", "resend"])
def test_a_failure_that_named_the_number_only_in_an_outage_may_mean_another_message_and_gives_up_none(
    stage: Stage, on_stuck: str
) -> None:
    stage.parts.settings.on_stuck = on_stuck
    stage.sandbox.mute("default", then="stuck")
    stage.crm.enqueue(["swallowed"])
    stage.send()
    stage.sandbox.set_status("default", "need_scan")
    stage.live(40, until=lambda: not up(stage))
    stage.webhook("message.sent", {"success": False, "error": f"Failed to send message: Invalid JID: {number(0)}"})
    stage.hear()
    assert stage.crm.states() == ["accepted"]
    stage.sandbox.unmute("default")
    stage.sandbox.scan("default")

    stage.live(400, step_s=10)

    (message,) = stage.crm.messages()
    if on_stuck == "hold":
        assert (message.state, message.attention, message.error_code) == ("accepted", "no_tick", None)
        assert message.next_check_at is not None, "its tick may still come"
    else:
        assert (message.state, message.resends) == ("delivered", 1)


def test_an_outage_of_hours_is_no_reason_to_give_up_what_it_swallowed(stage: Stage) -> None:
    lost_session(stage, ["one", "two"], then="stuck", down_s=3 * 3600)
    stage.live(300, step_s=10, until=lambda: all_delivered(stage))
    assert {row.resends for row in stage.crm.messages()} == {1}


@pytest.mark.parametrize("out", ["logged_out", "blocked", "paused"])
def test_while_a_channel_is_out_for_hours_people_are_told_what_waits_for_it_and_it_is_judged_afterwards(
    stage: Stage, out: str
) -> None:
    stage.crm.set_channel("default", unacked_window=20)
    stage.sandbox.mute("default", then="stuck")
    stage.crm.enqueue(["swallowed"])
    stage.send()
    stage.sandbox.fault("reset", when="before", count=1)
    stage.crm.enqueue(["doubtful"], to=lambda _: number(1), on_doubt="resend")
    stage.send()
    stage.sandbox.set_status("default", "need_scan")
    stage.sandbox.unmute("default")
    stage.live(40, until=lambda: not up(stage))
    if out != "logged_out":  # what was swallowed is suspect by now
        stage.crm.set_channel("default", state=ChannelState(out), reason="no_api_key")

    stage.live(3000, step_s=600)
    assert [row.attention for row in stage.crm.messages()] == [None, None]
    stage.live(3600, step_s=600, until=lambda: all(row.attention for row in stage.crm.messages()))

    assert [row.attention for row in stage.crm.messages()] == ["channel_out"] * 2
    assert stage.crm.states() == ["accepted", "in_doubt"]
    stage.sandbox.scan("default")
    stage.crm.set_channel("default", state=ChannelState.DOWN)
    stage.live(400, step_s=10, until=lambda: all_delivered(stage))
    assert [row.attention for row in stage.crm.messages()] == [None, None]
    assert stage.sandbox.verdict()["duplicates"] == 0


@pytest.mark.parametrize("waiting", [0, 12])
def test_what_a_mute_channel_swallowed_hours_ago_is_sent_again_whether_or_not_anything_waited_for_it(
    stage: Stage, waiting: int
) -> None:
    stage.crm.enqueue(["earlier"], to=lambda _: number(90))
    stage.live(30)
    stage.sandbox.mute("default", then="stuck")
    stage.crm.enqueue(["swallowed"])
    stage.live(300, until=lambda: stage.crm.channel().state is ChannelState.MUTE)
    stage.crm.enqueue([f"{index}" for index in range(waiting)], to=lambda index: number(100 + index))
    stage.live(4000, step_s=50)
    assert stage.crm.messages()[1].attention == "channel_out"
    stage.sandbox.unmute("default")
    stage.crm.enqueue(["proof of life"], to=lambda _: number(77))
    stage.live(1000, step_s=20, until=lambda: up(stage))

    stage.live(300, step_s=10, until=lambda: stage.crm.states()[1] == "delivered")

    assert stage.crm.messages()[1].resends == 1


def test_what_a_channel_swallowed_that_comes_up_while_people_are_about_to_be_told_is_judged(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.sandbox.mute("default", then="stuck")
    stage.crm.enqueue(["swallowed"])
    stage.send()
    stage.sandbox.set_status("default", "need_scan")
    stage.sandbox.unmute("default")
    stage.live(40, until=lambda: not up(stage))
    stage.pass_time(3700)
    real, looks = open_fates.out_too_long, []

    def out_too_long(*args: Any, **kwargs: Any) -> Any:
        looks.append(rows := real(*args, **kwargs))
        stage.sandbox.scan("default")
        stage.check()
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(open_fates, "out_too_long", out_too_long)
        doubt.flag_out(stage.parts)
    assert [len(rows) for rows in looks] == [1]
    assert up(stage)

    stage.live(300, step_s=10, until=lambda: all_delivered(stage))

    assert stage.crm.messages()[0].resends == 1


def test_what_a_person_lets_go_while_its_channel_is_out_is_asked_about_and_its_late_tick_is_shown(
    stage: Stage,
) -> None:
    stage.sandbox.mute("default", then="later")
    stage.crm.enqueue(["not needed any more"])
    stage.send()
    stage.live(3 * 3600, step_s=600, until=lambda: stage.crm.messages()[0].checks >= 15)
    with transaction(stage.parts.engine) as connection:
        states.pause(connection, stage.crm.channel().id, now=stage.parts.clock())
        people.cancel(connection, stage.crm.messages()[0].id, now=stage.parts.clock())
    assert stage.crm.states() == ["failed"]
    stage.live(1200, step_s=60)
    stage.sandbox.unmute("default")

    stage.live(900, step_s=60, until=lambda: all_delivered(stage))

    assert stage.crm.messages()[0].error_code is None


def test_the_order_of_a_person_holds_through_an_outage(stage: Stage) -> None:
    texts = [f"{index:02d}" for index in range(12)]
    mute_spell(stage, texts, then="stuck", to=lambda index: number(index % 3))
    stage.crm.enqueue([f"{index:02d}" for index in range(12, 24)], to=lambda index: number(index % 4))

    stage.live(900, step_s=10, until=lambda: all_delivered(stage))

    for recipient in map(number, range(4)):
        got = ledger_order(stage, recipient)
        assert got == sorted(got), "their order was turned round"
    assert Counter(stage.crm.texts(acked=True)) == Counter(f"{index:02d}" for index in range(24))


def test_where_the_proof_of_life_went_to_the_same_person_what_was_swallowed_before_is_left_to_a_person(
    stage: Stage,
) -> None:
    mute_spell(stage, ["0", "1"], then="stuck", to=lambda _: number(0))
    stage.crm.enqueue(["2", "3"], to=lambda _: number(0))

    stage.live(900, step_s=10, until=lambda: stage.crm.states()[2:] == ["delivered"] * 2)

    assert ledger_order(stage, number(0)) == ["2", "3"]
    assert [row.attention for row in stage.crm.messages()] == ["no_tick", "no_tick", None, None]


def test_what_cannot_be_asked_about_waits_for_an_answer(stage: Stage) -> None:
    mute_spell(stage, ["one"], then="stuck")
    stage.crm.enqueue(["proof of life"], to=lambda _: number(77))
    stage.live(200, until=lambda: up(stage) and stage.crm.states()[1] == "delivered")
    fault = stage.sandbox.fault("answer", endpoint="info", status=200, body="<html>no JSON here</html>")
    stage.live(180, step_s=20)
    assert stage.crm.states()[0] == "accepted", "it was sent again though nobody knew that it had to be"
    assert len(stage.sandbox.ledger(text="one")) == 1
    stage.sandbox.clear_faults(fault)
    stage.live(120, step_s=10, until=lambda: all_delivered(stage))
    assert len(stage.sandbox.ledger(text="one")) == 2


def test_a_missing_tick_on_a_healthy_channel_never_causes_a_resend_and_is_shown_to_a_person(stage: Stage) -> None:
    stage.sandbox.recipients(never_ticked=number(0))
    stage.crm.set_channel("default", unacked_window=20)
    stage.crm.enqueue(["never ticked"])
    stage.send()
    stage.pass_time(1)
    stage.crm.enqueue(["ticked"], to=lambda _: number(1))
    stage.send()
    stage.live(600, step_s=30)
    assert up(stage)
    assert stage.crm.states() == ["accepted", "delivered"]
    stage.live(3600, step_s=600)

    assert len(stage.sandbox.ledger(text="never ticked")) == 1
    unticked = stage.crm.messages()[0]
    assert (unticked.state, unticked.attention) == ("accepted", "no_tick")
    assert stage.crm.events(1)[-1].reason == "no_tick"
    assert "mute" not in {row.after for row in stage.crm.events(None)}
