"""Why a message waits, whose turn it is, and when it should go out."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.outbox.desk import ALICE, BOB, CAROL, PACE, Desk
from worker.domain.channel_state import ChannelState
from worker.domain.outcomes import Cause
from worker.domain.pace import Pacing
from worker.domain.quiet_hours import QuietHours
from worker.why import Explanation, explain

Why = Callable[[int], Explanation]
HOUR = timedelta(hours=1)
#: From one message of the channel to the next.
STEP = Pacing(pace=PACE).interval


@pytest.fixture
def channel_id(sqlite_desk: Desk) -> int:
    """Up, checked just now, at one message every five seconds."""
    channel_id = sqlite_desk.channel()
    sqlite_desk.set_channel(channel_id, checked_at=sqlite_desk.now)
    return channel_id


@pytest.fixture
def why(sqlite_desk: Desk) -> Why:
    def ask(seq: int) -> Explanation:
        desk = sqlite_desk
        explained: Explanation = desk.write(
            lambda c: explain(
                c, desk.message(seq).id, now=desk.now, check_interval_s=30, quiet_hours=desk.quiet_hours
            )
        )
        assert explained.because
        return explained

    return ask


def test_a_message_that_is_due_goes_out_after_those_before_it(sqlite_desk: Desk, channel_id: int, why: Why) -> None:
    seqs = [sqlite_desk.enqueue(channel_id, to) for to in (ALICE, BOB, CAROL)]

    told = why(seqs[2])

    assert (told.ahead, told.whose_turn, told.action) == (2, "truetick", None)
    assert told.expected_at == sqlite_desk.now + 2 * STEP
    assert told.because[-1] == "2 messages go out before it on this channel; at the pace 1/5 that takes 10 s."


def test_of_many_that_are_scheduled_for_one_moment_each_has_its_own_turn(
    sqlite_desk: Desk, channel_id: int, why: Why
) -> None:
    later = (sqlite_desk.now + HOUR).isoformat()
    seqs = [sqlite_desk.enqueue(channel_id, to, send_after=later) for to in (ALICE, BOB, CAROL)]

    first, last = why(seqs[0]), why(seqs[2])

    assert first.expected_at == sqlite_desk.now + HOUR
    assert first.because == ("It is not due before 2026-11-22 13:00:00 UTC.",)
    assert last.expected_at == sqlite_desk.now + HOUR + 2 * STEP
    assert "2 messages go out before it" in last.because[-1]


def test_a_message_that_is_due_soon_waits_for_the_backlog_before_it(
    sqlite_desk: Desk, channel_id: int, why: Why
) -> None:
    for to in (ALICE, BOB, CAROL):
        sqlite_desk.enqueue(channel_id, to)
    soon = sqlite_desk.enqueue(channel_id, ALICE, send_after=(sqlite_desk.now + timedelta(seconds=1)).isoformat())

    assert why(soon).expected_at == sqlite_desk.now + 3 * STEP


def test_a_message_that_will_expire_before_its_turn_says_so(sqlite_desk: Desk, channel_id: int, why: Why) -> None:
    sqlite_desk.enqueue(channel_id, BOB)
    expires = (sqlite_desk.now + timedelta(seconds=4)).isoformat()
    hopeless = sqlite_desk.enqueue(channel_id, ALICE, expires_at=expires)

    assert "it expires" in why(hopeless).because[-1]
    sqlite_desk.set_channel(channel_id, pace_seconds=1)
    assert "it expires" not in " ".join(why(hopeless).because)


@pytest.mark.parametrize(
    ("state", "reason", "turn", "advice"),
    [
        (ChannelState.PAUSED, "", "person", "truetick channels resume default"),
        (ChannelState.DOWN, "need_scan", "person", "QR code"),
        (ChannelState.DOWN, "connecting", "wasender", "by itself"),
        (ChannelState.BLOCKED, "bad_key", "person", "WASENDER_API_KEY"),
        (ChannelState.MUTE, "no_ticks", "person", "Restart the session"),
    ],
)
def test_a_channel_that_cannot_send_is_the_cause_and_has_the_remedy(
    sqlite_desk: Desk, channel_id: int, why: Why, state: ChannelState, reason: str, turn: str, advice: str
) -> None:
    seq = sqlite_desk.enqueue(channel_id)
    sqlite_desk.set_channel(channel_id, state=state, reason=reason)

    told = why(seq)

    assert (told.whose_turn, told.expected_at) == (turn, None)
    assert advice in (told.action or "")
    assert any(f"Channel default has been {state}" in cause for cause in told.because)


def test_nothing_is_promised_of_a_channel_that_nobody_has_checked_lately(
    sqlite_desk: Desk, channel_id: int, why: Why
) -> None:
    seq = sqlite_desk.enqueue(channel_id)
    sqlite_desk.wait(600)

    told = why(seq)

    assert (told.whose_turn, told.expected_at) == ("person", None)
    assert "so that is not certain" in told.because[1]
    assert "truetick up" in (told.action or "")


@pytest.mark.parametrize("daily_cap", [None, 1])
def test_of_a_time_at_the_end_of_the_calendar_nothing_is_promised(
    sqlite_desk: Desk, channel_id: int, why: Why, daily_cap: int | None
) -> None:
    sqlite_desk.set_channel(channel_id, daily_cap=daily_cap)
    seqs = [sqlite_desk.enqueue(channel_id, to, send_after="9999-12-31T23:59:59Z") for to in (ALICE, BOB)]

    assert why(seqs[1]).expected_at is None
    assert "9999-12-31" in why(seqs[1]).because[0]


def test_a_backlog_of_thousands_of_years_is_told_as_such(sqlite_desk: Desk, channel_id: int, why: Why) -> None:
    for _ in range(300):
        sqlite_desk.enqueue(channel_id, BOB)
    seq = sqlite_desk.enqueue(channel_id)
    sqlite_desk.set_channel(channel_id, pace_messages=1, pace_seconds=999_999, slowdown=1000.0)

    assert why(seq).expected_at is None
    assert "thousands of years" in why(seq).because[1]


def test_nothing_is_promised_while_a_tick_or_another_messages_fate_is_awaited(
    sqlite_desk: Desk, channel_id: int, why: Why
) -> None:
    sqlite_desk.enqueue(channel_id, ALICE)
    sqlite_desk.lease()
    sqlite_desk.finish(sqlite_desk.claim_one(channel_id), Cause.TIMEOUT)
    behind, other = sqlite_desk.enqueue(channel_id, ALICE), sqlite_desk.enqueue(channel_id, BOB)

    assert why(behind).message.pending.code == "recipient_waits"  # type: ignore[union-attr]
    assert why(behind).expected_at is None
    assert why(other).expected_at is not None
    sqlite_desk.finish(sqlite_desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    last = sqlite_desk.enqueue(channel_id, CAROL)
    sqlite_desk.set_channel(channel_id, unacked_window=1)

    assert why(last).message.pending.code == "window_full"  # type: ignore[union-attr]
    assert why(last).expected_at is None


def test_ticks_that_are_slower_than_the_pace_set_it(sqlite_desk: Desk, channel_id: int, why: Why) -> None:
    sqlite_desk.set_channel(channel_id, tick_latency_s=40.0, unacked_window=2)
    seqs = [sqlite_desk.enqueue(channel_id, to) for to in (ALICE, BOB, CAROL)]

    told = why(seqs[2])

    assert told.expected_at == sqlite_desk.now + timedelta(seconds=2 * 20)
    assert "that takes 40 s" in told.because[-1]
    sqlite_desk.set_channel(channel_id, unacked_window=20)
    assert why(seqs[2]).expected_at == sqlite_desk.now + 2 * STEP


def test_what_heeds_quiet_hours_goes_out_when_they_end(sqlite_desk: Desk, channel_id: int, why: Why) -> None:
    """Noon in UTC is half past five in India's afternoon."""
    sqlite_desk.quiet_hours = QuietHours.parse("17:00-19:00")
    heeds = sqlite_desk.enqueue(channel_id, ALICE, quiet_hours=True)
    evening = (sqlite_desk.now + 3 * HOUR).isoformat()
    later = sqlite_desk.enqueue(channel_id, BOB, quiet_hours=True, send_after=evening)

    assert why(heeds).expected_at == sqlite_desk.now + timedelta(hours=1, minutes=30)
    assert why(sqlite_desk.enqueue(channel_id, CAROL)).expected_at == sqlite_desk.now + STEP
    assert why(later).expected_at == sqlite_desk.now + 3 * HOUR


def test_a_stranger_waits_for_the_next_day_when_todays_budget_is_used_up(
    sqlite_desk: Desk, channel_id: int, why: Why
) -> None:
    sqlite_desk.set_channel(channel_id, first_contact_cap=1)
    first, second = sqlite_desk.enqueue(channel_id, ALICE), sqlite_desk.enqueue(channel_id, BOB)
    assert why(first).expected_at == sqlite_desk.now
    sqlite_desk.lease()
    sqlite_desk.finish(sqlite_desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)

    midnight = sqlite_desk.now.replace(hour=0) + timedelta(days=1)
    assert why(second).expected_at == midnight
    assert why(sqlite_desk.enqueue(channel_id, ALICE)).expected_at < midnight  # type: ignore[operator]


def test_what_is_with_wasender_waits_for_whatsapps_tick(sqlite_desk: Desk, channel_id: int, why: Why) -> None:
    seq = sqlite_desk.enqueue(channel_id)
    sqlite_desk.lease()
    sqlite_desk.finish(sqlite_desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)

    told = why(seq)

    assert (told.whose_turn, told.ahead, told.expected_at) == ("whatsapp", None, None)
    assert "WhatsApp has not ticked it yet" in told.because[0]


def test_a_refusal_for_good_is_the_crms_turn_and_quotes_wasender(
    sqlite_desk: Desk, channel_id: int, why: Why
) -> None:
    seq = sqlite_desk.enqueue(channel_id)
    sqlite_desk.lease()
    sqlite_desk.finish(sqlite_desk.claim_one(channel_id), Cause.NOT_ON_WHATSAPP)

    told = why(seq)

    assert told.whose_turn == "crm"
    assert "not on WhatsApp" in " ".join(told.because)
