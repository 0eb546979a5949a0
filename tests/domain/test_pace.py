"""Pacing and backoff: never early, never negative, never endless; and durations in words."""

from datetime import timedelta

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


@given(pacing=pacings, gaps_s=st.lists(st.floats(0, 100), max_size=30))
def test_no_post_ever_begins_before_the_last_one_plus_the_limits_interval(
    pacing: Pacing, gaps_s: list[float]
) -> None:
    exact = timedelta(seconds=pacing.pace.seconds / pacing.pace.messages)
    slot, started = NOON, None
    for gap_s in gaps_s:
        reserved = pacing.slot_after(slot)
        begun = slot + timedelta(seconds=gap_s)
        assert started is None or begun - started >= exact * pacing.slowdown - timedelta(microseconds=1)
        started, slot = begun, pacing.slot_after(begun, reserved)


@given(pacing=pacings, late_s=st.floats(0, 1))
def test_a_post_that_began_late_delays_the_next_slot_by_no_more_than_it_must(pacing: Pacing, late_s: float) -> None:
    begun = NOON + timedelta(seconds=late_s)
    following = pacing.slot_after(begun, pacing.slot_after(NOON))
    assert pacing.closest < pacing.interval
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
    assert pace.seconds / pace.messages < pace.closest_s < pace.interval_s


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
