"""When people are told of an outage."""

from datetime import timedelta

import pytest

from worker.domain.alarm import alarm_after
from worker.domain.channel_state import _REMEDY_OF_WORD, ChannelState
from worker.domain.outcomes import Cause

AT_ONCE = timedelta(0)


@pytest.mark.parametrize("word", ["connecting", "disconnected"])
def test_what_wasender_often_mends_by_itself_gets_three_minutes(word: str) -> None:
    assert alarm_after(ChannelState.DOWN, word) == timedelta(minutes=3)


@pytest.mark.parametrize("word", ["need_scan", "need_passkey", "logged_out", "expired", "a word of tomorrow", ""])
def test_what_needs_a_person_alarms_at_once_and_so_does_what_nobody_knows(word: str) -> None:
    assert alarm_after(ChannelState.DOWN, word) == AT_ONCE


@pytest.mark.parametrize("reason", ["", "connecting", "disconnected", "no_tick"])
def test_a_mute_channel_alarms_at_once_whatever_wasender_calls_it(reason: str) -> None:
    assert alarm_after(ChannelState.MUTE, reason) == AT_ONCE


@pytest.mark.parametrize("reason", [Cause.BAD_KEY, Cause.NO_SUBSCRIPTION, "no_api_key", "connecting", ""])
def test_a_blocked_channel_alarms_at_once(reason: str) -> None:
    assert alarm_after(ChannelState.BLOCKED, reason) == AT_ONCE


def test_of_all_the_words_that_have_a_remedy_only_two_wait() -> None:
    waiting = {word for word in _REMEDY_OF_WORD if alarm_after(ChannelState.DOWN, word) > AT_ONCE}
    assert waiting == {"connecting", "disconnected"}
