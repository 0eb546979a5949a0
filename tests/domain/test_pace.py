"""Pacing and backoff: never early, never negative, never endless; and durations in words."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.outbox.desk import NOON
from worker.domain.durations import lasting
from worker.domain.errors import NotConfigured
from worker.domain.pace import MARGIN_BOUNDS_S, MOST_SLOWDOWN, Pace, Pacing
from worker.domain.retry import backoff_s

paces = st.builds(
    Pace, st.integers(1, 999_999), st.integers(1, 999_999_999).map(lambda thousandths: thousandths / 1000)
)
pacings = st.builds(Pacing, pace=paces, slowdown=st.just(1.0) | st.floats(1.0, MOST_SLOWDOWN))


def begun_at(pacing: Pacing, late: Sequence[float]) -> list[datetime]:
    """When POSTs begin that are each so many intervals late."""
    slot, begun = NOON, []
    for intervals in late:
        reserved = pacing.slot_after(slot)
        begun.append(slot + intervals * pacing.interval)
        slot = pacing.slot_after(begun[-1], reserved)
    return begun


lateness = st.one_of(st.floats(0, 1.2), st.floats(0, 30))
few = st.builds(Pace, st.integers(1, 20), st.integers(20, 999_999_999).map(lambda thousandths: thousandths / 1000))
slowed = st.builds(Pacing, pace=few, slowdown=st.just(1.0) | st.floats(1.0, MOST_SLOWDOWN))


@given(pacing=slowed, late=st.lists(lateness, min_size=2, max_size=80))
def test_no_time_as_long_as_the_limits_ever_sees_more_posts_than_the_limit(pacing: Pacing, late: list[float]) -> None:
    pace = pacing.pace
    begun = begun_at(pacing, late)
    for first, beyond in zip(begun, begun[pace.messages :], strict=False):
        assert beyond - first > timedelta(seconds=pace.seconds * pacing.slowdown)


@given(pacing=pacings, late=st.lists(lateness, min_size=2, max_size=30))
def test_two_posts_are_never_closer_than_half_an_interval_and_one_alone_keeps_all_of_it(
    pacing: Pacing, late: list[float]
) -> None:
    least = (
        pacing.interval / 2 if pacing.pace.messages > 1 else timedelta(seconds=pacing.pace.seconds) * pacing.slowdown
    )
    for former, later in pairwise(begun_at(pacing, late)):
        assert later - former >= least - timedelta(microseconds=2)


def test_wasenders_limit_by_the_minute_is_used_up_although_every_post_begins_late() -> None:
    """By up to a tenth of a second, as commits and threads on a busy machine do."""
    pacing, chance = Pacing(pace=Pace(256, 60)), Random(1)
    begun = begun_at(pacing, [chance.uniform(0, 0.4) for _ in range(2000)])
    assert 1999 * 60 / 256 / (begun[-1] - begun[0]).total_seconds() > 0.984


@given(pacing=pacings, late_s=st.floats(0, 1))
def test_a_post_that_began_late_delays_the_next_slot_by_no_more_than_it_must(pacing: Pacing, late_s: float) -> None:
    begun = NOON + timedelta(seconds=late_s)
    following = pacing.slot_after(begun, pacing.slot_after(NOON))
    assert pacing.closest <= pacing.interval
    assert following == max(NOON + pacing.interval, begun + pacing.closest)


@given(pacing=pacings, ahead_s=st.floats(-1000, 1000))
def test_a_reserved_slot_never_moves_back(pacing: Pacing, ahead_s: float) -> None:
    reserved = NOON + timedelta(seconds=ahead_s)
    assert pacing.slot_after(NOON, reserved) >= reserved


@given(pace=paces)
def test_the_margin_is_small_but_never_nothing(pace: Pace) -> None:
    margin_s = pace.interval_s - pace.seconds / pace.messages
    least, most = MARGIN_BOUNDS_S
    assert least - 1e-6 <= margin_s <= most + 1e-6
    assert pace.interval_s / 2 <= pace.closest_s <= pace.interval_s
    if pace.messages == 1:
        assert pace.seconds < pace.closest_s < pace.interval_s


@pytest.mark.parametrize("pace", [Pace(256, 60), Pace(1, 5), Pace(1, 60)])
def test_the_margins_leave_more_than_98_percent_of_wasenders_own_limits(pace: Pace) -> None:
    assert pace.seconds / pace.messages / pace.interval_s > 0.985


@given(pace=paces)
def test_a_pace_is_written_as_it_is_read(pace: Pace) -> None:
    assert Pace.parse(str(pace)) == pace


@pytest.mark.parametrize(("text", "written"), [("1/5", "1/5"), (" 256 / 60 ", "256/60"), ("3/0.250", "3/0.25")])
def test_spellings_of_a_pace(text: str, written: str) -> None:
    assert str(Pace.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [*"/5-", "", "1/", "/5", "0/5", "1/0", "1/0.000", "-1/5", "1/-5", "1.5/5", "1/5/2", "1e3/5", "1/1e3", "1/nan"],
)
def test_what_is_no_pace_is_refused_briefly(text: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        Pace.parse(text)
    assert caught.value.code == "bad_pace"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("text", ["1/inf", "1 message/5 s", "1234567/1", "1/0.0001", "\x00", "1/5\n/", "9" * 10_000])
def test_what_is_endless_or_garbage_is_no_pace_either(text: str) -> None:
    test_what_is_no_pace_is_refused_briefly(text)


@given(text=st.text(max_size=20))
def test_any_text_is_a_pace_or_not_configured(text: str) -> None:
    try:
        pace = Pace.parse(text)
    except NotConfigured:
        return
    assert pace.interval_s > 0


@given(
    failures=st.integers(-5, 10**6),
    first_s=st.floats(0.001, 100),
    most_s=st.floats(0.001, 10_000),
)
def test_the_wait_grows_with_each_failure_up_to_its_bound(failures: int, first_s: float, most_s: float) -> None:
    wait_s = backoff_s(failures, first_s=first_s, most_s=most_s)
    assert 0 <= wait_s <= most_s
    assert wait_s <= backoff_s(failures + 1, first_s=first_s, most_s=most_s)
    assert (wait_s == 0) == (failures <= 0)
    assert backoff_s(1, first_s=first_s, most_s=most_s) == min(first_s, most_s)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "1 h"),
        (12_000, "3 h 20 min"),
        (47 * 3600, "47 h"),
        (172_800, "2 days"),
        (10**7, "115 days"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == words
