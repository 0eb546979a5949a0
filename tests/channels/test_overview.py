"""How channels stand: what is pending on each, how fresh that is, and what a person should do."""

from datetime import timedelta

import pytest

from tests.outbox.desk import ALICE, BOB, CAROL, PACE, Desk
from worker.channels import overview
from worker.channels.overview import ChannelStanding
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack
from worker.domain.outcomes import Cause
from worker.domain.pace import Pacing

INTERVAL_S = 30.0


def standings(desk: Desk) -> list[ChannelStanding]:
    found: list[ChannelStanding] = desk.write(
        lambda c: overview.standings(c, now=desk.now, check_interval_s=INTERVAL_S)
    )
    return found


def test_each_channel_counts_its_own_messages(desk: Desk) -> None:
    busy, idle = desk.channel("busy"), desk.channel("idle")
    ticked = desk.accepted(busy, ALICE)
    desk.tick(ticked, Ack.SERVER)
    desk.accepted(busy, BOB)
    desk.enqueue(busy, CAROL)
    desk.finish(desk.claim_one(busy), Cause.TIMEOUT)
    desk.enqueue(busy, ALICE)
    first, second = standings(desk)
    assert (first.id, second.id) == (busy, idle)
    assert (first.pending, first.unacked, first.in_doubt) == (3, 1, 1)
    assert (second.pending, second.unacked, second.in_doubt) == (0, 0, 0)
    told = overview.as_json([first, second])
    assert (told["pending"], told["unacked"], told["in_doubt"]) == (3, 1, 1)


def test_up_is_believed_only_while_wasender_has_said_so_lately(desk: Desk) -> None:
    channel_id = desk.channel()
    (never,) = standings(desk)
    assert (never.verified, never.sends) == (False, False)
    assert never.action
    desk.set_channel(channel_id, checked_at=desk.now)
    desk.wait(INTERVAL_S * overview.FRESH_INTERVALS)
    (fresh,) = standings(desk)
    assert (fresh.sends, fresh.action) == (True, None)
    assert overview.all_up([fresh])
    desk.wait(0.001)
    (stale,) = standings(desk)
    assert not stale.sends
    assert stale.action
    assert not overview.all_up([stale])


def test_whatever_keeps_a_channel_from_sending_comes_with_advice(desk: Desk) -> None:
    for state in ChannelState:
        channel_id = desk.channel(state.value, state=state)
        desk.set_channel(channel_id, checked_at=desk.now)
    for standing in standings(desk):
        assert (standing.action is None) == standing.sends == (standing.state is ChannelState.UP)
        assert standing.as_json()["state"] == standing.state.value
    assert not overview.all_up(standings(desk))
    assert not overview.all_up([])


def test_a_channel_without_a_key_does_not_spoil_the_others(desk: Desk) -> None:
    up = desk.channel("sales")
    keyless = desk.channel("default", state=ChannelState.BLOCKED)
    desk.set_channel(up, checked_at=desk.now)
    desk.set_channel(keyless, reason="no_api_key")
    assert overview.all_up(standings(desk))


@pytest.mark.parametrize(
    ("slot_in_s", "failures", "queued", "said"),
    [
        (0, 0, True, None),
        (5, 0, True, None),
        (60, 3, True, "not answering well (3 attempts in a row); next try at 12:01:00 UTC"),
        (60, 1, False, "not answering well (one attempt); next try at 12:01:00 UTC"),
        (-1, 1, True, "next try at once"),
        (-1, 1, False, None),
        (60, 0, True, "asked to wait; sending goes on at 12:01:00 UTC"),
    ],
)
def test_a_channel_that_is_up_without_messages_flowing_says_why(
    desk: Desk, slot_in_s: float, failures: int, queued: bool, said: str | None
) -> None:
    channel_id = desk.channel()
    if queued:
        desk.enqueue(channel_id)
    slot = desk.now + timedelta(seconds=slot_in_s)
    refused = said is not None and not failures
    slowdown = Pacing(pace=PACE).throttled(7200).slowdown if refused else 1.0
    desk.set_channel(channel_id, checked_at=desk.now, next_slot_at=slot, failures=failures, slowdown=slowdown)

    (standing,) = standings(desk)

    told = overview.as_json([standing])
    assert (told["all_up"], told["all_flowing"]) == (True, said is None)
    assert standing.as_json()["flowing"] == (said is None)
    assert (said or "") in (standing.note or "")
    assert (standing.note is None) == (said is None)


def test_a_channel_that_is_not_up_does_not_flow(desk: Desk) -> None:
    desk.channel(state=ChannelState.DOWN)
    (standing,) = standings(desk)
    assert not standing.flowing
    assert not overview.all_flowing([standing])
    assert not overview.all_flowing([])
