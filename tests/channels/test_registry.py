"""Channels by name: made once, found by name, and never two of one name."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from tests.outbox.desk import PACE, Desk
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.domain.channel_state import ChannelState
from worker.domain.errors import Conflict, InvalidRequest, NotFound
from worker.domain.pace import Pace
from worker.models import Channel


def add(desk: Desk, name: str) -> int:
    channel_id: int = desk.write(lambda c: registry.add(c, NewChannel(name=name, pace=PACE), desk.now))
    return channel_id


def default(desk: Desk, pace: Pace = PACE) -> int:
    channel_id: int = desk.write(lambda c: registry.ensure_default(c, pace, desk.now))
    return channel_id


@pytest.mark.parametrize("name", ["a", "0", "sales-2_eu", "x" * 64])
def test_a_new_channel_waits_to_be_checked(desk: Desk, name: str) -> None:
    channel_id = add(desk, name)
    row = desk.channel_row(channel_id)
    assert (row.name, row.state, row.reason, row.failures) == (name, ChannelState.UNKNOWN, "", 0)
    assert row.created_at == row.since == row.check_due_at == row.next_slot_at == desk.now
    assert (row.checked_at, row.lease_token, row.api_key_encrypted) == (None, None, None)
    assert desk.channel_events(channel_id) == [(None, "unknown", "operator")]


@pytest.mark.parametrize("name", ["", "-a", "_a", "A", "a b", "a\n", "é", "x" * 65, "a/b", "a\x00"])
def test_a_bad_name_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add(desk, name)
    assert caught.value.code == "bad_name"
    assert len(caught.value.message) < 200


def test_a_name_that_is_taken_is_a_conflict(desk: Desk) -> None:
    add(desk, "sales")
    with pytest.raises(Conflict):
        add(desk, "sales")
    assert add(desk, "support")


def test_of_many_who_add_one_name_one_succeeds(desk: Desk) -> None:
    def added(_: int) -> bool:
        try:
            return bool(add(desk, "sales"))
        except Conflict:
            return False

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(added, range(10))).count(True) == 1


def test_an_unknown_name_is_answered_with_the_known_ones(desk: Desk) -> None:
    with pytest.raises(NotFound, match="none yet"):
        desk.write(lambda c: registry.channel_id(c, "sales"))
    for name in ("support", "alerts"):
        add(desk, name)
    with pytest.raises(NotFound, match=r"alerts, support\.") as caught:
        desk.write(lambda c: registry.channel_id(c, "sales"))
    assert caught.value.code == "unknown_channel"
    assert [row.name for row in desk.write(registry.all_channels)] == ["alerts", "support"]


def test_the_default_channel_is_made_once_by_whoever_comes_first(desk: Desk) -> None:
    with ThreadPoolExecutor(10) as pool:
        ids = set(pool.map(lambda _: default(desk), range(10)))
    assert len(ids) == 1
    assert desk.read(select(func.count()).select_from(Channel))[0][0] == 1
    assert len(desk.channel_events(ids.pop())) == 1


def test_the_default_channels_pace_follows_the_environment_of_the_workers_alone(desk: Desk) -> None:
    channel_id = default(desk, Pace(1, 5))
    assert default(desk, Pace(256, 60.5)) == channel_id, "a shell without TRUETICK_PACE must not reset it"
    assert desk.channel_row(channel_id).pace_seconds == 5
    desk.write(lambda c: registry.follow_environment(c, Pace(256, 60.5), desk.now))
    row = desk.channel_row(channel_id)
    assert (row.pace_messages, row.pace_seconds, row.daily_cap) == (256, 60.5, None)
    assert len(desk.channel_events(channel_id)) == 1


def test_the_default_channels_daily_cap_follows_the_environment_too(desk: Desk) -> None:
    channel_id: int = desk.write(lambda c: registry.ensure_default(c, PACE, desk.now, daily_cap=50))
    assert desk.channel_row(channel_id).daily_cap == 50
    for cap in (60, None, 50):
        desk.write(lambda c, cap=cap: registry.follow_environment(c, PACE, desk.now, daily_cap=cap))
        assert desk.channel_row(channel_id).daily_cap == cap


def test_another_cap_does_not_shorten_a_wait_that_wasender_asked_for(desk: Desk) -> None:
    channel_id: int = desk.write(lambda c: registry.ensure_default(c, PACE, desk.now, daily_cap=1))
    asked = desk.now + timedelta(days=2)
    desk.set_channel(channel_id, posts_on=desk.now.date(), posts_that_day=1, next_slot_at=asked)
    desk.write(lambda c: registry.follow_environment(c, PACE, desk.now, daily_cap=9))
    assert desk.channel_row(channel_id).next_slot_at == asked
