"""Slowing down after refusals, recovering with accepted messages, and the daily cap: pure arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.outbox.desk import NOON
from worker.domain.pace import LONGEST_WINDOW_S, MOST_SLOWDOWN, Pace, Pacing

TRIAL = Pacing(pace=Pace(1, 60), daily_cap=50)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def refused(pacing: Pacing, times: int = 1) -> Pacing:
    for _ in range(times):
        pacing = pacing.throttled()
    return pacing


def accepted(pacing: Pacing, times: int) -> Pacing:
    for _ in range(times):
        pacing = pacing.accepted()
    return pacing


# Slowdown


def test_each_refusal_slows_down_by_half_again_up_to_a_bound() -> None:
    pacing = Pacing(pace=Pace(1, 5))
    assert refused(pacing).interval == pacing.interval * 1.5
    assert refused(pacing, 2).interval == pacing.interval * 2.25
    assert refused(pacing, 100).slowdown == MOST_SLOWDOWN


def test_the_bound_lets_a_paid_plans_pace_fall_below_that_of_account_protection() -> None:
    assert refused(Pacing(pace=Pace(256, 60)), 100).interval > Pacing(pace=Pace(1, 5)).interval


@given(refusals=st.integers(1, 30))
def test_accepted_messages_bring_the_pace_back_entirely(refusals: int) -> None:
    slowed = refused(Pacing(pace=Pace(256, 60)), refusals)
    previous = slowed
    for _ in range(500):
        faster = previous.accepted()
        assert 1.0 <= faster.slowdown < previous.slowdown or faster.slowdown == 1.0
        previous = faster
    assert previous == Pacing(pace=Pace(256, 60))
    assert not previous.is_slowed


def test_one_refusal_is_soon_made_good_and_several_slowly() -> None:
    pacing = Pacing(pace=Pace(1, 5))
    assert accepted(refused(pacing), 5).is_slowed
    assert accepted(refused(pacing), 40) == pacing
    assert accepted(refused(pacing, 3), 40).slowdown > 2


def test_a_wait_of_hours_is_a_days_cap_and_no_fault_of_the_pace() -> None:
    pacing = Pacing(pace=Pace(1, 5))
    asked_to_wait = pacing.throttled(30_000.0)
    assert not asked_to_wait.is_slowed
    assert asked_to_wait.was_refused, "so that the channel is not said to flow meanwhile"
    assert asked_to_wait.accepted() == pacing
    assert pacing.throttled(LONGEST_WINDOW_S).is_slowed
    assert pacing.throttled(None).is_slowed


def test_without_a_hint_the_wait_climbs_from_seconds_over_a_minute_to_an_hour() -> None:
    pacing, waits = Pacing(pace=Pace(1, 5)), []
    for _ in range(9):
        pacing = pacing.throttled()
        waits.append(pacing.unhinted_wait_s)
    assert waits == [5, 60, 60, *[3600] * 6]
    assert pacing.rests_unexplained


def test_after_a_long_time_without_refusals_the_wait_is_short_again() -> None:
    recovered = accepted(refused(Pacing(pace=Pace(1, 5)), 9), 500)
    assert recovered.throttled().unhinted_wait_s == 5


@given(slowdown=st.floats(1.0, MOST_SLOWDOWN), unhinted=st.integers(0, 4))
def test_every_slowdown_has_a_wait(slowdown: float, unhinted: int) -> None:
    assert Pacing(pace=Pace(1, 5), slowdown=slowdown, unhinted=unhinted).unhinted_wait_s in {5, 60, 3600}


@given(taken_between=st.lists(st.integers(1, 40), max_size=200))
def test_refusals_with_messages_taken_in_between_never_wait_longer_than_seconds(taken_between: list[int]) -> None:
    pacing = Pacing(pace=Pace(256, 60))
    for taken in taken_between:
        pacing = accepted(pacing.throttled(), taken)
        assert pacing.throttled().unhinted_wait_s == 5


@given(answers=st.lists(st.sampled_from(["taken", "silent", "hinted", "day"]), max_size=60))
def test_the_wait_is_that_of_the_silent_refusals_since_the_last_message_taken(answers: list[str]) -> None:
    pacing, in_a_row = Pacing(pace=Pace(1, 5)), 0
    for answer in answers:
        if answer == "taken":
            pacing, in_a_row = pacing.accepted(), 0
        else:
            pacing = pacing.throttled({"silent": None, "hinted": 5.0, "day": 30_000.0}[answer])
            in_a_row += answer == "silent"
        assert pacing.unhinted_wait_s == [5, 5, 60, 60, 3600][min(in_a_row, 4)]
        assert pacing.rests_unexplained == (in_a_row >= 4)


# The daily cap


def test_without_a_cap_every_slot_is_allowed_and_posts_are_counted_all_the_same() -> None:
    pacing = Pacing(pace=Pace(1, 5)).counted(NOON).counted(NOON)
    assert pacing.allowed_from(MIDNIGHT) == MIDNIGHT
    assert pacing.posts_on_day_of(NOON) == 2


def test_the_slot_after_the_last_post_of_a_day_is_just_after_midnight() -> None:
    pacing = TRIAL
    for _ in range(50):
        assert pacing.allowed_from(NOON) == NOON
        pacing = pacing.counted(NOON)
    assert pacing.is_used_up(NOON)
    assert MIDNIGHT < pacing.allowed_from(NOON) <= MIDNIGHT + 2 * SECOND
    assert not pacing.is_used_up(MIDNIGHT)


@given(
    cap=st.integers(1, 5),
    gaps_s=st.lists(st.floats(0, 50_000), min_size=1, max_size=60),
    delays_s=st.lists(st.floats(0, 3), min_size=60, max_size=60),
)
def test_no_day_ever_sees_more_posts_than_its_cap_however_late_they_begin(
    cap: int, gaps_s: list[float], delays_s: list[float]
) -> None:
    pacing = Pacing(pace=Pace(1, 5), daily_cap=cap)
    wanted, begun = NOON, []
    for gap_s, delay_s in zip(gaps_s, delays_s, strict=False):
        wanted += timedelta(seconds=gap_s)
        slot = pacing.allowed_from(wanted)
        assert slot >= wanted
        assert pacing.allowed_from(slot) == slot
        pacing = pacing.counted(slot)
        if slot + timedelta(seconds=delay_s) < pacing.day_ends(slot):
            begun.append(slot + timedelta(seconds=delay_s))
        else:
            pacing = pacing.uncounted(slot)
        wanted = slot
    # The gateway's arrival is later by the way there, which is shorter than the guard around midnight.
    for way_s in (0, 0.9):
        days = [(at + timedelta(seconds=way_s)).date() for at in begun]
        assert all(days.count(day) <= cap for day in set(days))


def test_a_post_that_never_began_is_given_back_to_its_day_only() -> None:
    full = TRIAL
    for _ in range(50):
        full = full.counted(NOON)
    assert full.uncounted(NOON).allowed_from(NOON) == NOON
    assert full.uncounted(NOON - timedelta(days=1)) == full
    assert TRIAL.uncounted(NOON) == TRIAL


def test_a_clock_set_back_gives_no_second_day() -> None:
    pacing = Pacing(pace=Pace(1, 5), daily_cap=2).counted(MIDNIGHT + SECOND).counted(MIDNIGHT + SECOND)
    assert pacing.is_used_up(NOON)


@pytest.mark.parametrize(
    ("used", "ahead", "in_words"),
    [
        (0, 0, "22 12:00"),
        (0, 10, "22 12:10"),
        (0, 49, "22 12:49"),
        (0, 50, "23 00:00"),
        (0, 60, "23 00:10"),
        (50, 0, "23 00:00"),
        (49, 1, "23 00:00"),
        (0, 150, "25 00:00"),
    ],
)
def test_a_forecast_heeds_the_cap(used: int, ahead: int, in_words: str) -> None:
    pacing = TRIAL
    for _ in range(used):
        pacing = pacing.counted(NOON)
    expected = pacing.slot_in_turn(NOON, ahead)
    assert f"{expected:%d %H:%M}" == in_words
