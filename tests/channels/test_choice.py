"""A pool shares its messages out: whom a recipient knows comes first, then who has the least to do."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine.interfaces import CacheStats

from tests.outbox.desk import ALICE, BOB, CAROL, Desk
from worker.channels.choice import LATEST, Wish, choose
from worker.domain.channel_state import CONNECTED_AGAIN, ChannelState
from worker.domain.errors import NotFound
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace
from worker.models import Message

UP, UNKNOWN, DOWN, MUTE = ChannelState.UP, ChannelState.UNKNOWN, ChannelState.DOWN, ChannelState.MUTE
BLOCKED, PAUSED = ChannelState.BLOCKED, ChannelState.PAUSED
STOPPED_FOR = timedelta(seconds=120)
STATES = MessageState


def pool(desk: Desk, *names: str, name: str = "main") -> list[int]:
    ids = [desk.channel(channel) for channel in names]
    for channel_id in ids:
        desk.set_channel(channel_id, pool=name)
    return ids


def stranger(index: int) -> str:
    return f"+9170330{index:05d}"


def chosen(desk: Desk, *recipients: str | None, pool: str = "main", rank: int = 0) -> list[int]:
    wishes = [Wish(pool=pool, recipient=recipient, rank=rank) for recipient in recipients]
    found: list[int] = desk.write(lambda c: choose(c, wishes, now=desk.now, stopped_for=STOPPED_FOR))
    return found


def settle(desk: Desk, seqs: Sequence[int], state: MessageState) -> None:
    for seq in seqs:
        desk.write(
            lambda c, seq=seq: c.execute(Message.__table__.update().where(Message.seq == seq).values(state=state))
        )


# Whom the recipient knows


def test_a_recipient_stays_with_the_channel_of_the_last_message_however_busy_it_is(desk: Desk) -> None:
    busy, idle = pool(desk, "busy", "idle")
    desk.enqueue(idle, ALICE)
    desk.enqueue(busy, ALICE)
    for index in range(20):
        desk.enqueue(busy, stranger(index))
    assert chosen(desk, ALICE) == [busy]


@pytest.mark.parametrize("state", [DOWN, MUTE, UNKNOWN])
def test_a_recipient_waits_for_a_channel_that_is_away_for_a_while(desk: Desk, state: ChannelState) -> None:
    known, other = pool(desk, "known", "other")
    settle(desk, [desk.enqueue(known, ALICE)], STATES.DELIVERED)
    desk.set_channel(known, state=state, since=desk.now - timedelta(days=1))
    assert chosen(desk, ALICE, BOB) == [known, other]


@pytest.mark.parametrize("state", [BLOCKED, PAUSED])
def test_a_recipient_moves_on_once_the_channel_has_been_stopped_for_long(desk: Desk, state: ChannelState) -> None:
    known, other = pool(desk, "known", "other")
    settle(desk, [desk.enqueue(known, ALICE)], STATES.DELIVERED)
    desk.set_channel(known, state=state, since=desk.now)
    assert chosen(desk, ALICE) == [known], "a short stop scatters nobody"
    desk.wait(121)
    assert chosen(desk, ALICE) == [other]


@pytest.mark.parametrize("waiting", [STATES.QUEUED, STATES.SENDING, STATES.ACCEPTED, STATES.IN_DOUBT])
def test_nobody_leaves_a_stopped_channel_while_something_waits_there(desk: Desk, waiting: MessageState) -> None:
    known, _ = pool(desk, "known", "other")
    settle(desk, [desk.enqueue(known, ALICE)], waiting)
    desk.set_channel(known, state=PAUSED, since=desk.now - timedelta(days=1))
    assert chosen(desk, ALICE) == [known]


def test_a_channel_that_left_the_pool_is_forgotten(desk: Desk) -> None:
    known, other = pool(desk, "known", "other")
    desk.enqueue(known, ALICE)
    desk.set_channel(known, pool="another")
    assert chosen(desk, ALICE) == [other]
    assert chosen(desk, ALICE, pool="another") == [known]


def test_messages_of_other_pools_do_not_hide_the_acquaintance_unless_they_are_very_many(desk: Desk) -> None:
    known, other = pool(desk, "known", "other")
    alone = desk.channel("alone")
    settle(desk, [desk.enqueue(known, ALICE)], STATES.DELIVERED)
    desk.enqueue(known, BOB)
    for _ in range(LATEST - 1):
        desk.enqueue(alone, ALICE)
    assert chosen(desk, ALICE) == [known]
    desk.enqueue(alone, ALICE)
    assert chosen(desk, ALICE) == [other]


# Who has the least to do


def test_the_shortest_wait_counts_not_the_shortest_queue(desk: Desk) -> None:
    slow = desk.channel("slow", pace=Pace(1, 60))
    quick = desk.channel("quick", pace=Pace(10, 1))
    for channel_id in (slow, quick):
        desk.set_channel(channel_id, pool="main")
    for index in range(100):
        desk.enqueue(quick, stranger(index))
    desk.enqueue(slow, stranger(200))
    assert chosen(desk, ALICE) == [quick]


def test_a_bulk_message_counts_all_that_waits_a_transactional_one_only_its_like(desk: Desk) -> None:
    campaign, plain = pool(desk, "campaign", "plain")
    for index in range(5):
        desk.enqueue(campaign, stranger(index), priority="bulk")
    desk.enqueue(plain, stranger(10))
    assert chosen(desk, ALICE, rank=0) == [campaign]
    assert chosen(desk, BOB, rank=1) == [plain]


def test_what_is_due_later_makes_no_channel_busy(desk: Desk) -> None:
    booked, free = pool(desk, "booked", "free")
    for index in range(5):
        desk.enqueue(booked, stranger(index), send_after=(desk.now + timedelta(hours=1)).isoformat())
    desk.enqueue(free, stranger(10))
    assert chosen(desk, ALICE) == [booked]


def test_up_goes_before_unknown_before_down_before_stopped(desk: Desk) -> None:
    ids = pool(desk, "a", "b", "c", "d")
    for channel_id, state in zip(ids, (PAUSED, DOWN, UNKNOWN, UP), strict=True):
        desk.set_channel(channel_id, state=state)
    for index in range(50):
        desk.enqueue(ids[3], stranger(index))
    for expected in reversed(ids):
        assert chosen(desk, ALICE) == [expected]
        desk.set_channel(expected, pool=None)


def test_a_channel_that_was_linked_again_is_tried_with_one_stranger_at_a_time(desk: Desk) -> None:
    back, well = pool(desk, "back", "well")
    desk.set_channel(back, state=MUTE, reason=CONNECTED_AGAIN, probe_at=desk.now)
    desk.enqueue(well, stranger(0))
    assert chosen(desk, *(stranger(index) for index in range(1, 6))) == [back, well, well, well, well]

    desk.enqueue(back, stranger(1))
    assert chosen(desk, stranger(2)) == [well], "one waits there already"


@pytest.mark.parametrize("later_s", [1, None])
def test_a_channel_that_is_mute_or_was_tried_just_now_gets_no_stranger(desk: Desk, later_s: int | None) -> None:
    back, well = pool(desk, "back", "well")
    if later_s is None:
        desk.set_channel(back, state=MUTE, reason="no_ticks", probe_at=desk.now)
    else:
        desk.set_channel(back, state=MUTE, reason=CONNECTED_AGAIN, probe_at=desk.now + timedelta(seconds=later_s))
    assert chosen(desk, stranger(1)) == [well]


def test_a_batch_is_shared_out_by_pace(desk: Desk) -> None:
    quick, slow = pool(desk, "quick", "slow")
    desk.set_channel(quick, pace_messages=4, pace_seconds=4)
    desk.set_channel(slow, pace_messages=1, pace_seconds=4)
    shares = Counter(chosen(desk, *(stranger(index) for index in range(500))))
    assert 395 <= shares[quick] <= 405
    assert shares[quick] + shares[slow] == 500


def test_equal_channels_share_strangers_in_one_way_only(desk: Desk) -> None:
    ids = pool(desk, "a", "b", "c")
    alone = [chosen(desk, stranger(index)) for index in range(60)]
    assert alone == [chosen(desk, stranger(index)) for index in range(60)]
    assert min(Counter(one for (one,) in alone).values()) >= 8
    assert {one for (one,) in alone} == set(ids)


def test_two_messages_of_one_batch_to_one_stranger_take_one_channel(desk: Desk) -> None:
    pool(desk, "a", "b")
    found = chosen(desk, ALICE, BOB, CAROL, ALICE, CAROL, BOB)
    assert found[:3] == [found[3], found[5], found[4]]
    assert len(set(found)) == 2


def test_what_nobody_can_understand_takes_some_channel(desk: Desk) -> None:
    ids = pool(desk, "a", "b")
    assert set(chosen(desk, None, None)) <= set(ids)


# Names


def test_a_pool_without_channels_is_unknown_and_the_others_go_on(desk: Desk) -> None:
    first, _ = pool(desk, "a"), pool(desk, "b", name="other")
    wishes = [Wish(pool=name, recipient=ALICE) for name in ("main", "nowhere", "nowhere", "main")]
    found = desk.write(lambda c: choose(c, wishes, now=desk.now, stopped_for=STOPPED_FOR))
    assert [found[0], found[3]] == [first[0]] * 2
    refused = found[1]
    assert isinstance(refused, NotFound)
    assert refused is found[2]
    assert refused.code == "unknown_pool"
    assert "main, other" in refused.message
    assert "set-pool" in refused.message


def test_a_recipient_may_know_one_channel_in_each_pool(desk: Desk) -> None:
    here, there = pool(desk, "a", "b"), pool(desk, "c", "d", name="other")
    desk.enqueue(here[1], ALICE)
    desk.enqueue(there[0], ALICE)
    assert chosen(desk, ALICE) == [here[1]]
    assert chosen(desk, ALICE, pool="other") == [there[0]]


# Costs


def test_a_batch_of_five_hundred_is_three_queries_and_quick(desk: Desk) -> None:
    ids = pool(desk, *(f"c{index}" for index in range(10)))
    for index in range(30):
        desk.enqueue(ids[index % 10], stranger(index))
    asked: list[str] = []
    event.listen(desk.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    began = time.perf_counter()
    found = chosen(desk, *(stranger(index) for index in range(500)))
    took_s = time.perf_counter() - began
    assert len([sql for sql in asked if "SELECT" in sql]) == 3
    assert len(found) == 500
    assert took_s < 1, "it holds up every batch that is stored"


@pytest.mark.parametrize("count", [1, 7])
def test_a_choice_like_the_one_before_compiles_no_statement(desk: Desk, count: int) -> None:
    pool(desk, "a", "b")
    hits: list[CacheStats] = []

    def note(*call: Any) -> None:
        if "SELECT" in call[2]:
            hits.append(call[4].cache_hit)

    event.listen(desk.engine, "before_cursor_execute", note)
    chosen(desk, *(stranger(index) for index in range(count)))
    hits.clear()
    desk.wait(60)
    chosen(desk, *(stranger(index + 100) for index in range(count)))
    assert hits == [CacheStats.CACHE_HIT] * 3
