"""Leases: whose channels are handed out, in which order, to one run at a time, and when a wake-up is needed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.outbox.desk import ALICE, LEASE, OURS, THEIRS, Desk
from worker.channels import leases
from worker.channels.leases import SOON
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Connection
from worker.domain.outcomes import Cause
from worker.models import Channel


def anything_waiting(desk: Desk, horizon_s: float = 5) -> bool:
    horizon = desk.now + timedelta(seconds=horizon_s)
    return bool(desk.write(lambda c: leases.anything_waiting(c, now=desk.now, horizon=horizon)))


def needs_wake(desk: Desk, channel_id: int) -> bool:
    return bool(desk.write(lambda c: leases.needs_wake(c, channel_id, desk.now)))


def test_the_channel_whose_slot_comes_first_is_taken_first(desk: Desk) -> None:
    channels = [desk.channel(name) for name in ("third", "first", "second")]
    for channel_id, seconds in zip(channels, (3, 1, 2), strict=True):
        desk.enqueue(channel_id)
        desk.set_channel(channel_id, next_slot_at=desk.now + timedelta(seconds=seconds))
    assert desk.lease(horizon_s=2.5) == [channels[1], channels[2]]
    assert desk.lease(horizon_s=3) == [channels[0]]


def test_a_channel_that_rests_after_trouble_is_left_alone_until_then_or_until_it_comes_up_again(desk: Desk) -> None:
    rest_until, slot = desk.now + timedelta(seconds=300), desk.now + timedelta(seconds=1)
    rests, comes_up = desk.channel("rests"), desk.channel("comes-up")
    for channel_id in (rests, comes_up):
        desk.enqueue(channel_id)
        desk.set_channel(channel_id, rest_until=rest_until, next_slot_at=slot, failures=9)
    assert not anything_waiting(desk)
    assert not needs_wake(desk, rests)
    assert desk.lease(horizon_s=299) == []

    desk.report(comes_up, Connection.NOT_CONNECTED, "need_scan")
    desk.report(comes_up, Connection.CONNECTED)

    assert needs_wake(desk, comes_up)
    assert desk.channel_row(comes_up).next_slot_at == slot, "the pace knows nothing of reconnects"
    assert desk.lease(horizon_s=299) == [comes_up]
    assert desk.lease(horizon_s=300) == [rests]


@pytest.mark.parametrize("state", ChannelState)
def test_only_a_channel_that_is_up_is_handed_out(desk: Desk, state: ChannelState) -> None:
    channel_id = desk.channel(state=state)
    desk.enqueue(channel_id)
    up = state is ChannelState.UP
    assert (anything_waiting(desk), needs_wake(desk, channel_id), bool(desk.lease())) == (up, up, up)


@pytest.mark.parametrize("priority", ["transactional", "bulk"])
def test_a_channel_is_handed_out_once_something_is_due(desk: Desk, priority: str) -> None:
    channel_id = desk.channel()
    assert not anything_waiting(desk)
    assert desk.lease() == []
    desk.enqueue(channel_id, priority=priority, send_after=(desk.now + timedelta(seconds=9)).isoformat())
    assert not anything_waiting(desk)
    desk.wait(9)
    assert anything_waiting(desk)
    assert desk.lease() == [channel_id]
    assert not anything_waiting(desk)


def test_a_channel_with_nothing_but_expired_messages_is_left_alone(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id, expires_at=(desk.now + timedelta(seconds=1)).isoformat())
    assert anything_waiting(desk)
    desk.wait(1)
    assert not anything_waiting(desk)
    assert desk.lease() == []


def test_a_lease_is_written_and_given_back_by_its_own_token_alone(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id)
    assert desk.lease(OURS, holder="host:7") == [channel_id]
    row = desk.channel_row(channel_id)
    assert (row.lease_token, row.lease_holder, row.lease_expires_at) == (OURS, "host:7", desk.now + LEASE)
    desk.write(lambda c: leases.give_back(c, THEIRS, [channel_id]))
    desk.write(lambda c: leases.give_back(c, OURS, []))
    assert desk.lease(THEIRS) == []
    desk.write(lambda c: leases.give_back(c, OURS, [channel_id]))
    row = desk.channel_row(channel_id)
    assert (row.lease_token, row.lease_holder, row.lease_expires_at) == (None, None, None)
    assert desk.lease(THEIRS) == [channel_id]


def test_of_many_runs_that_look_at_once_each_channel_has_one(desk: Desk) -> None:
    channels = {desk.channel(f"c{number}") for number in range(6)}
    for channel_id in channels:
        desk.enqueue(channel_id)
    tokens = [f"{number:032d}" for number in range(8)]
    with ThreadPoolExecutor(len(tokens)) as pool:
        taken = dict(zip(tokens, pool.map(desk.lease, tokens), strict=True))
    assert sorted(channel_id for mine in taken.values() for channel_id in mine) == sorted(channels)
    held = dict(desk.read(select(Channel.id, Channel.lease_token)))
    assert all(held[channel_id] == token for token, mine in taken.items() for channel_id in mine)


def test_a_lease_taken_over_has_the_slot_that_the_dead_run_may_have_used(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id)
    desk.enqueue(channel_id, "+917033009601")
    desk.leased_claim(channel_id)
    desk.wait(LEASE.total_seconds())
    taken = desk.lease(THEIRS, horizon_s=0)
    row = desk.channel_row(channel_id)
    assert taken == [channel_id]
    assert row.next_slot_at > desk.now, "handed out with its later slot, so that nothing is sent too early"
    assert row.lease_token == THEIRS


@pytest.mark.parametrize(
    ("lease_s", "slot_s", "needed"),
    [(None, 0, True), (None, 5, True), (None, 5.001, False), (0.001, 0, False), (0, 0, True), (-1, 0, True)],
)
def test_a_wake_up_is_needed_when_the_channel_could_send_soon_and_no_run_holds_it(
    desk: Desk, lease_s: float | None, slot_s: float, needed: bool
) -> None:
    assert timedelta(seconds=5) == SOON
    channel_id = desk.channel()
    desk.enqueue(channel_id)
    held = {} if lease_s is None else {"lease_token": OURS, "lease_expires_at": desk.now + timedelta(seconds=lease_s)}
    desk.set_channel(channel_id, next_slot_at=desk.now + timedelta(seconds=slot_s), **held)
    assert needs_wake(desk, channel_id) is needed


def test_a_message_that_came_while_the_run_was_leaving_is_found(desk: Desk) -> None:
    """Whoever enqueues under a lease wakes nobody, so the run that gives the channel back has to look once more."""
    channel_id = desk.channel()
    desk.enqueue(channel_id, ALICE)
    claim = desk.leased_claim(channel_id)
    desk.enqueue(channel_id, ALICE)
    assert not needs_wake(desk, channel_id)
    desk.finish(claim, Cause.ACCEPTED, gateway_msg_id=1)
    desk.write(lambda c: leases.give_back(c, OURS, [channel_id]))
    assert anything_waiting(desk)
