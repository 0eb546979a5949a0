"""The window of a channel: how many messages may be without a tick, counted in the database and nowhere else."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest

from tests.outbox.desk import ALICE, BOB, CAROL, OURS, THEIRS, Desk
from worker.channels import leases, outages, window
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack, Connection
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.domain.window import LONGEST_LATENCY_S
from worker.outbox.claims import Claim

NUMBERS = [f"+9170330{number:05d}" for number in range(10_000, 10_200)]


def queue(desk: Desk, channel_id: int, count: int) -> list[int]:
    """So many messages, each to somebody else."""
    return [desk.enqueue(channel_id, number) for number in NUMBERS[:count]]


def claim_all(desk: Desk, channel_id: int, token: str = OURS) -> list[Claim]:
    desk.lease(token, horizon_s=3600)
    claims: list[Claim] = []
    while found := desk.claim([channel_id], token).claims:
        claims += found
    return claims


_ids = count(1)


def accept(desk: Desk, claims: Sequence[Claim], token: str = OURS) -> list[int]:
    for claim in claims:
        desk.finish(claim, Cause.ACCEPTED, token=token, gateway_msg_id=next(_ids))
    return [claim.seq for claim in claims]


def waits_for_a_run(desk: Desk, channel_id: int) -> tuple[bool, bool, bool]:
    """What each of those who ask "may it send?" is told: a sweep, whoever stores a message, a run."""
    horizon = desk.now + timedelta(seconds=5)
    swept = desk.write(lambda c: leases.anything_waiting(c, now=desk.now, horizon=horizon))
    woken = desk.write(lambda c: leases.needs_wake(c, channel_id, desk.now))
    leased = channel_id in desk.lease()
    desk.write(lambda c: leases.give_back(c, OURS, [channel_id]))
    return swept, woken, leased


def test_a_channel_that_comes_up_sends_one_message_and_doubles_with_each_round_of_ticks(desk: Desk) -> None:
    desk.most_unacked = 20
    channel_id = desk.channel(state=ChannelState.UNKNOWN)
    desk.report(channel_id, Connection.CONNECTED)
    queue(desk, channel_id, 80)
    rounds = []
    for _ in range(7):
        seqs = accept(desk, claim_all(desk, channel_id))
        rounds.append(len(seqs))
        desk.wait(1)
        for seq in seqs:
            desk.tick(seq, Ack.SERVER)
    assert rounds == [1, 2, 4, 8, 16, 20, 20]


def test_each_tick_lets_as_many_more_out_as_the_window_has_room_for(desk: Desk) -> None:
    desk.most_unacked = 4
    channel_id = desk.channel(window=4)
    queue(desk, channel_id, 20)
    seqs = accept(desk, claim_all(desk, channel_id))
    assert len(seqs) == 4
    desk.tick(seqs[2], Ack.SERVER)
    assert len(claim_all(desk, channel_id)) == 1


@pytest.mark.parametrize("trouble", ["down", "mute"])
def test_the_window_begins_anew_when_the_channel_goes_down_or_mute(desk: Desk, trouble: str) -> None:
    channel_id = desk.channel(window=16)
    if trouble == "down":
        desk.report(channel_id, Connection.NOT_CONNECTED, "need_scan")
    else:
        desk.go_mute(channel_id)
    assert desk.channel_row(channel_id).unacked_window == 1


def test_ticks_that_come_while_it_is_down_do_not_open_the_window_of_a_channel_that_comes_up(desk: Desk) -> None:
    desk.most_unacked = 20
    channel_id = desk.channel(window=4)
    queue(desk, channel_id, 20)
    seqs = accept(desk, claim_all(desk, channel_id))
    desk.report(channel_id, Connection.NOT_CONNECTED, "connecting")
    for seq in seqs:
        desk.tick(seq, Ack.SERVER)
    desk.report(channel_id, Connection.CONNECTED)
    assert len(claim_all(desk, channel_id)) == 1


def test_what_is_being_sent_fills_the_window_as_what_is_accepted_does(desk: Desk) -> None:
    channel_id = desk.channel(window=3)
    queue(desk, channel_id, 10)
    claims = claim_all(desk, channel_id)
    assert len(claims) == 3
    accept(desk, claims[:2])
    assert claim_all(desk, channel_id) == []
    desk.finish(claims[2], Cause.UNREACHABLE)
    assert len(claim_all(desk, channel_id)) == 1, "what was not sent gives its place back"


def test_doubt_and_what_a_person_looks_at_do_not_fill_the_window(desk: Desk) -> None:
    channel_id = desk.channel(window=2)
    queue(desk, channel_id, 10)
    accepted, doubted = claim_all(desk, channel_id)
    desk.finish(doubted, Cause.TIMEOUT)
    accept(desk, [accepted])
    assert len(claim_all(desk, channel_id)) == 1
    assert desk.hold(accepted.seq)
    assert len(claim_all(desk, channel_id)) == 1


def test_what_later_ticks_have_overtaken_does_not_fill_the_window(desk: Desk) -> None:
    """A phone that is off, or a message that WaSender lost, must not narrow the channel for ever."""
    desk.most_unacked = 2
    channel_id = desk.channel(window=2)
    queue(desk, channel_id, 10)
    (silent, *_) = accept(desk, claim_all(desk, channel_id))
    desk.tick(silent + 1, Ack.SERVER)
    for _ in range(3):
        desk.wait(25)
        (seq,) = accept(desk, claim_all(desk, channel_id))
        desk.tick(seq, Ack.SERVER)
    assert len(claim_all(desk, channel_id)) == 2, "a message accepted more than its patience later was ticked"
    assert desk.state(silent) is MessageState.ACCEPTED


def test_what_an_outage_may_have_swallowed_does_not_fill_the_window_of_the_channel_that_is_up_again(
    desk: Desk,
) -> None:
    channel_id = desk.channel(window=8)
    queue(desk, channel_id, 20)
    accept(desk, claim_all(desk, channel_id))
    desk.wait(1)
    desk.report(channel_id, Connection.NOT_CONNECTED, "connecting")
    desk.wait(1)
    desk.report(channel_id, Connection.CONNECTED)
    assert len(claim_all(desk, channel_id)) == 1


def test_a_full_window_wakes_nobody_and_a_tick_opens_it(desk: Desk) -> None:
    channel_id = desk.channel(window=1)
    first, _ = queue(desk, channel_id, 2)
    assert waits_for_a_run(desk, channel_id) == (True, True, True)
    accept(desk, claim_all(desk, channel_id))
    desk.write(lambda c: leases.give_back(c, OURS, [channel_id]))
    assert waits_for_a_run(desk, channel_id) == (False, False, False)
    desk.tick(first, Ack.SERVER)
    assert waits_for_a_run(desk, channel_id) == (True, True, True)


def test_a_mute_channel_wakes_a_run_when_its_next_single_message_is_due_and_not_before(desk: Desk) -> None:
    channel_id = desk.channel()
    queue(desk, channel_id, 3)
    desk.go_mute(channel_id)
    for pause_s in (10, 60, 120):
        assert waits_for_a_run(desk, channel_id) == (False, False, False)
        desk.wait(pause_s)
        assert waits_for_a_run(desk, channel_id) == (True, True, True)
        desk.lease()
        (claim,) = desk.claim([channel_id]).claims
        desk.write(lambda c: window.probed(c, channel_id, now=desk.now, ack_timeout_s=60))
        assert desk.claim([channel_id]).claims == ()
        accept(desk, [claim])
        desk.write(lambda c: leases.give_back(c, OURS, [channel_id]))


def test_a_tick_of_a_single_message_brings_a_mute_channel_up(desk: Desk) -> None:
    channel_id = desk.channel()
    queue(desk, channel_id, 9)
    desk.go_mute(channel_id)
    desk.wait(10)
    desk.lease()
    (claim,) = desk.claim([channel_id]).claims
    accept(desk, [claim])
    desk.tick(claim.seq, Ack.SERVER)
    row = desk.channel_row(channel_id)
    assert (row.state, row.probe_at, row.probes, row.unacked_window) == (ChannelState.UP, None, 0, 1)
    assert desk.channel_events(channel_id)[-1] == ("mute", "up", "info")


def test_a_mute_channel_tries_a_recipient_who_is_waiting_if_there_is_nobody_else(desk: Desk) -> None:
    """Else a channel with one recipient would stay mute for ever: his first message is not judged before it is up."""
    channel_id = desk.channel()
    swallowed = desk.accepted(channel_id, ALICE)
    second = desk.enqueue(channel_id, ALICE)
    desk.wait(1)
    desk.go_mute(channel_id)
    to_bob = desk.enqueue(channel_id, BOB, priority="bulk")
    desk.wait(10)
    desk.lease()
    assert desk.claim_one(channel_id).seq == to_bob, "somebody who waits for nothing is preferred"
    assert desk.claim_one(channel_id).seq == second
    assert desk.state(swallowed) is MessageState.ACCEPTED


def test_a_mute_channel_still_tries_nobody_whose_last_message_has_no_outcome(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id, ALICE)
    desk.enqueue(channel_id, ALICE)
    claim = desk.leased_claim(channel_id)
    desk.go_mute(channel_id)
    desk.wait(10)
    assert desk.claim([channel_id]).claims == ()
    desk.finish(claim, Cause.TIMEOUT)
    assert desk.claim([channel_id]).claims == ()


def test_two_runs_that_take_turns_on_a_channel_share_its_window(desk: Desk) -> None:
    channel_id = desk.channel(window=4)
    queue(desk, channel_id, 20)
    desk.lease(OURS)
    accept(desk, [desk.claim_one(channel_id, OURS), desk.claim_one(channel_id, OURS)])
    desk.write(lambda c: leases.give_back(c, OURS, [channel_id]))
    assert len(claim_all(desk, channel_id, THEIRS)) == 2


def test_two_runs_that_race_for_a_channel_never_send_more_than_its_window(desk: Desk) -> None:
    """Each leases, claims, has its messages accepted and leaves, as fast as it can, while ticks come in between."""
    desk.most_unacked = 4
    channel_id = desk.channel(window=2)
    seqs = queue(desk, channel_id, 60)
    most_seen = []

    def run(token: str) -> int:
        sent = 0
        for _ in range(12):
            if channel_id in desk.lease(token, horizon_s=3600):
                claims = [claim for _ in range(3) for claim in desk.claim([channel_id], token).claims]
                most_seen.append(sum(desk.state(seq) in {"sending", "accepted"} for seq in seqs))
                sent += len(accept(desk, claims, token))
                desk.write(lambda c: leases.give_back(c, token, [channel_id]))
            for seq in [seq for seq in seqs if desk.state(seq) is MessageState.ACCEPTED][:1]:
                desk.tick(seq, Ack.SERVER)
        return sent

    with ThreadPoolExecutor(2) as pool:
        sent = sum(pool.map(run, [OURS, THEIRS]))
    assert sent >= 8, "the race was too tame to prove anything"
    assert max(most_seen) <= 4


def test_what_an_outage_held_up_does_not_make_the_channel_look_slow(desk: Desk) -> None:
    """Patience grows with a channel's usual latency; hours of outage are not its latency."""
    channel_id = desk.channel()
    held_up = desk.accepted(channel_id, ALICE)
    normal = desk.accepted(channel_id, BOB)
    desk.wait(4)
    desk.tick(normal, Ack.SERVER)
    desk.report(channel_id, Connection.NOT_CONNECTED, "need_scan")
    desk.wait(3 * 3600)
    desk.report(channel_id, Connection.CONNECTED)
    desk.tick(held_up, Ack.SERVER)
    assert desk.channel_row(channel_id).tick_latency_s == 4
    desk.tick(desk.accepted(channel_id, CAROL), Ack.SERVER)
    assert desk.channel_row(channel_id).tick_latency_s == 3


def late_tick_of_a_mute_channel(desk: Desk, name: str, *, after_s: float, spell: Callable[[int], None]) -> float:
    """A message is ticked so long after its acceptance, in a mute spell in which something may happen. Returns the
    latency that the channel is known to have from then on."""
    channel_id = desk.channel(name)
    late = desk.accepted(channel_id)
    desk.wait(60)
    assert desk.go_mute(channel_id)
    spell(channel_id)
    desk.wait(after_s - 65)
    desk.tick(late, None)
    desk.wait(5)
    desk.tick(late, Ack.SERVER)
    latency_s: float = desk.channel_row(channel_id).tick_latency_s
    return latency_s


def test_a_late_tick_that_ends_a_mute_spell_shows_how_slow_the_channel_is_if_time_was_all_it_took(desk: Desk) -> None:
    def nothing(_: int) -> None: ...

    def restart(_: int) -> None:
        assert desk.write(lambda c: outages.take_restarts(c, now=desk.now, most=1))

    def lose_and_find(channel_id: int) -> None:
        desk.wait(1)
        desk.report(channel_id, Connection.NOT_CONNECTED, "connecting")
        desk.wait(1)
        desk.report(channel_id, Connection.CONNECTED)

    assert late_tick_of_a_mute_channel(desk, "slow", after_s=100, spell=nothing) == 100
    assert late_tick_of_a_mute_channel(desk, "slowest", after_s=LONGEST_LATENCY_S, spell=nothing) == LONGEST_LATENCY_S
    assert late_tick_of_a_mute_channel(desk, "mute", after_s=LONGEST_LATENCY_S + 1, spell=nothing) == 0
    assert late_tick_of_a_mute_channel(desk, "restarted", after_s=100, spell=restart) == 0
    assert late_tick_of_a_mute_channel(desk, "lost", after_s=100, spell=lose_and_find) == 0


def test_a_known_channel_that_becomes_slow_is_known_as_slow_at_once(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.wait(1)
    desk.tick(desk.accepted(channel_id, BOB), Ack.SERVER)
    quick = desk.accepted(channel_id, CAROL)
    desk.wait(2)
    desk.tick(quick, Ack.SERVER)
    assert desk.channel_row(channel_id).tick_latency_s == 2

    late = desk.accepted(channel_id)
    desk.wait(60)
    assert desk.go_mute(channel_id)
    desk.tick(late, None)
    desk.wait(40)
    desk.tick(late, Ack.SERVER)

    assert desk.channel_row(channel_id).tick_latency_s == 100


def test_an_answer_that_was_lost_begins_the_window_anew(desk: Desk) -> None:
    one, other = desk.channel("one", window=8), desk.channel("other", window=8)
    desk.write(lambda c: window.begin_anew(c, [one]))
    assert [desk.channel_row(channel_id).unacked_window for channel_id in (one, other)] == [1, 8]
