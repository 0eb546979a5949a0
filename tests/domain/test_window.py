"""The window's arithmetic: slow start, patience with slow channels, and what silence proves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.window import (
    LONGEST_PATIENCE_S,
    LONGEST_PROBE_PAUSE_S,
    SINGLE_FACTOR,
    UNASKED_FACTOR,
    Silence,
    grown,
    is_mute,
    patience_s,
    probe_pause_s,
    smoothed,
)

windows = st.integers(1, 1000)
counts = st.integers(0, 1000)
seconds = st.floats(0, 1e6)
silences = st.builds(
    Silence,
    outstanding=counts,
    overdue_recipients=counts,
    oldest_s=seconds,
    ticked_lately=st.booleans(),
    asked=st.booleans(),
    tried=st.booleans(),
)
#: A window of four that is full of messages to four people, a minute old, about which WaSender was asked in vain.
MUTE = Silence(outstanding=4, overdue_recipients=4, oldest_s=61, ticked_lately=False, asked=True)


def mute(silence: Silence, window: int = 4) -> bool:
    return is_mute(silence, window=window, patience_s=60)


def test_a_window_whose_messages_are_all_ticked_doubles_up_to_the_maximum() -> None:
    window, seen = 1, [1]
    for _ in range(6):
        window = grown(window, window, 20)
        seen.append(window)
    assert seen == [1, 2, 4, 8, 16, 20, 20]


@given(window=windows, ticks=counts, most=windows)
def test_a_window_is_never_empty_and_never_beyond_the_maximum(window: int, ticks: int, most: int) -> None:
    assert 1 <= grown(window, ticks, most) <= most


@given(window=windows, first=counts, then=counts, most=windows)
def test_ticks_count_the_same_however_they_are_batched(window: int, first: int, then: int, most: int) -> None:
    assert grown(grown(window, first, most), then, most) == grown(window, first + then, most)


@given(latency_s=seconds, sample_s=st.floats(-1e6, 1e6))
def test_the_usual_latency_moves_towards_each_sample_and_is_never_negative(latency_s: float, sample_s: float) -> None:
    after = smoothed(latency_s, sample_s)
    sample_s = max(0.0, sample_s)
    assert min(latency_s, sample_s) <= after <= max(latency_s, sample_s)


def test_the_first_sample_is_the_usual_latency() -> None:
    assert smoothed(0, 7) == 7


@given(ack_timeout_s=st.floats(1, 3600), latency_s=seconds)
def test_patience_is_at_least_the_timeout_and_grows_with_a_slow_channel_within_bounds(
    ack_timeout_s: float, latency_s: float
) -> None:
    patience = patience_s(ack_timeout_s, latency_s)
    assert ack_timeout_s <= patience <= max(ack_timeout_s, LONGEST_PATIENCE_S)
    if latency_s <= LONGEST_PATIENCE_S / 3:
        assert patience >= 3 * latency_s


def test_probes_are_tried_ever_less_often_but_do_not_end() -> None:
    pauses = [probe_pause_s(probes, 60) for probes in range(1, 12)]
    assert pauses[:4] == [60, 120, 240, 480]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PROBE_PAUSE_S


def test_a_full_window_that_stays_without_a_tick_is_mute() -> None:
    assert mute(MUTE)


@pytest.mark.parametrize(
    "healthy",
    [
        pytest.param(replace(MUTE, ticked_lately=True), id="something was ticked"),
        pytest.param(replace(MUTE, overdue_recipients=0), id="nothing is overdue"),
        pytest.param(replace(MUTE, asked=False), id="nobody could ask: webhooks may be lost and WaSender away"),
        pytest.param(
            replace(MUTE, outstanding=1, overdue_recipients=1),
            id="one message in a larger window: a phone may be off",
        ),
    ],
)
def test_what_has_another_explanation_is_not_mute(healthy: Silence) -> None:
    assert not mute(healthy)


def test_two_silent_recipients_prove_it_before_the_window_is_full() -> None:
    assert mute(replace(MUTE, outstanding=2, overdue_recipients=2), window=20)


def test_one_silent_message_proves_it_after_twice_the_time() -> None:
    alone = replace(MUTE, outstanding=1, overdue_recipients=1)
    assert not mute(replace(alone, oldest_s=60 * SINGLE_FACTOR - 1))
    assert mute(replace(alone, oldest_s=60 * SINGLE_FACTOR))
    assert mute(alone, window=1), "a window of one is full with it"


def test_a_wasender_that_cannot_be_asked_delays_the_verdict_and_one_that_nobody_asked_gives_none() -> None:
    unasked = replace(MUTE, asked=False, oldest_s=60 * UNASKED_FACTOR)
    assert mute(unasked)
    assert not mute(replace(unasked, oldest_s=60 * UNASKED_FACTOR - 1))
    assert not mute(replace(unasked, tried=False, oldest_s=1e9))


@given(silence=silences, window=windows, patience=st.floats(1, 600))
def test_a_recent_tick_always_speaks_for_the_channel(silence: Silence, window: int, patience: float) -> None:
    assert not is_mute(replace(silence, ticked_lately=True), window=window, patience_s=patience)


@given(silence=silences, longer=seconds, window=windows, patience=st.floats(1, 600))
def test_a_longer_silence_never_speaks_for_a_channel(
    silence: Silence, longer: float, window: int, patience: float
) -> None:
    if is_mute(silence, window=window, patience_s=patience):
        assert is_mute(replace(silence, oldest_s=silence.oldest_s + longer), window=window, patience_s=patience)
