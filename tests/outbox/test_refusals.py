"""A message that WaSender refuses, though the channel is well, lets others go first and is given up in the end."""

from collections.abc import Sequence

import pytest

from tests.outbox.desk import ALICE, BOB, CAROL, Desk
from worker.domain.evidence import Ack, Connection
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.domain.refusals import FIRST_PAUSE_S, GIVEN_UP_CODE, LONGEST_PAUSE_S, MOST_REFUSALS
from worker.outbox.claims import Claim

S = MessageState


def refuse(desk: Desk, claim: Claim, cause: Cause = Cause.CHANNEL_DOWN) -> None:
    desk.finish(claim, cause)


def refused(desk: Desk, channel_id: int, to: str = ALICE, cause: Cause = Cause.CHANNEL_DOWN) -> int:
    """A message that was refused once. Returns its seq."""
    seq = desk.enqueue(channel_id, to)
    claim = desk.leased_claim(channel_id)
    assert claim.seq == seq
    refuse(desk, claim, cause)
    return seq


def send(desk: Desk, channel_id: int, to: str) -> int:
    """Another message goes out and is ticked. Returns its seq."""
    seq = desk.enqueue(channel_id, to)
    claim = desk.claim_one(channel_id)
    assert claim.seq == seq, "the refused one went first"
    desk.wait(0.001)
    desk.finish(claim, Cause.ACCEPTED, gateway_msg_id=1000 + seq)
    desk.tick(seq, Ack.SERVER)
    return seq


def give_back(desk: Desk) -> None:
    desk.set_channels(lease_token=None, lease_expires_at=None, lease_holder=None, next_slot_at=desk.now)


def claimed(desk: Desk, channel_id: int) -> Sequence[int]:
    return [claim.seq for claim in desk.claim([channel_id]).claims]


@pytest.mark.parametrize("cause", [Cause.CHANNEL_DOWN, Cause.NO_SUBSCRIPTION, Cause.BAD_KEY])
def test_what_was_refused_lets_others_go_first_until_its_channel_was_ticked_and_its_pause_is_over(
    desk: Desk, cause: Cause
) -> None:
    channel_id = desk.channel()
    first = refused(desk, channel_id, ALICE, cause)
    desk.wait(300)
    send(desk, channel_id, BOB)
    desk.enqueue(channel_id, CAROL)
    assert desk.claim_one(channel_id).seq == first, "it was ticked since, so the refused one has its turn again"


def test_its_pause_is_kept_although_others_are_ticked(desk: Desk) -> None:
    channel_id = desk.channel()
    first = refused(desk, channel_id)
    send(desk, channel_id, BOB)
    later = desk.enqueue(channel_id, CAROL)
    assert desk.claim_one(channel_id).seq == later
    desk.wait(FIRST_PAUSE_S)
    assert desk.claim_one(channel_id).seq == first


def test_where_nobody_else_waits_it_is_tried_again_and_each_of_several_has_its_turn(desk: Desk) -> None:
    channel_id = desk.channel()
    seqs = [desk.enqueue(channel_id, to) for to in (ALICE, BOB, CAROL)]
    desk.lease()
    turns = []
    for _ in range(6):
        claim = desk.claim_one(channel_id)
        turns.append(claim.seq)
        refuse(desk, claim)
        desk.wait(FIRST_PAUSE_S)
    assert turns == seqs * 2
    assert {desk.message(seq).refusals for seq in seqs} == {1}, "nothing was ticked, so it may be the channel"


def test_a_mute_channel_tries_another_message_each_time(desk: Desk) -> None:
    channel_id = desk.channel()
    seqs = [desk.enqueue(channel_id, to) for to in (ALICE, BOB, CAROL)]
    desk.lease()
    desk.go_mute(channel_id)
    desk.set_channel(channel_id, probe_at=desk.now)
    turns = []
    for _ in seqs:
        claim = desk.claim_one(channel_id)
        turns.append(claim.seq)
        desk.wait(100)
        refuse(desk, claim)
        give_back(desk)
        desk.lease()
    assert turns == seqs


def test_later_messages_of_its_rank_to_the_same_recipient_wait_behind_it(desk: Desk) -> None:
    channel_id = desk.channel()
    first = refused(desk, channel_id, ALICE)
    second = desk.enqueue(channel_id, ALICE)
    bulk, urgent = desk.enqueue(channel_id, BOB, priority="bulk"), desk.enqueue(channel_id, CAROL)
    assert [desk.claim_one(channel_id).seq for _ in (urgent, bulk)] == [urgent, bulk]
    desk.wait(1)
    again = desk.claim_one(channel_id)
    assert again.seq == first
    assert claimed(desk, channel_id) == []
    desk.finish(again, Cause.ACCEPTED, gateway_msg_id=7)
    assert claimed(desk, channel_id) == [second]


def test_a_transactional_message_passes_a_refused_bulk_one_to_the_same_recipient(desk: Desk) -> None:
    channel_id = desk.channel()
    bulk = desk.enqueue(channel_id, ALICE, priority="bulk")
    refuse(desk, desk.leased_claim(channel_id))
    urgent = desk.enqueue(channel_id, ALICE)
    assert desk.claim_one(channel_id).seq == urgent
    assert desk.state(bulk) is S.QUEUED


def test_only_what_is_refused_while_others_are_ticked_is_given_up_after_so_many_times(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = refused(desk, channel_id)
    for count in range(1, MOST_REFUSALS):
        assert (desk.state(seq), desk.message(seq).refusals, desk.message(seq).attempts) == (S.QUEUED, count, 0)
        send(desk, channel_id, BOB)
        desk.wait(LONGEST_PAUSE_S)
        refuse(desk, desk.claim_one(channel_id))

    row = desk.message(seq)
    assert (row.state, row.error_code, row.attempts) == (S.FAILED, GIVEN_UP_CODE, 0)
    assert "truetick resend" in row.error_message
    assert desk.events(seq)[-1] == ("sending", "failed", "worker")
    assert claimed(desk, channel_id) == []


def test_a_refusal_that_comes_before_the_tick_of_another_is_learnt_does_not_make_that_tick_worthless(
    desk: Desk,
) -> None:
    channel_id = desk.channel()
    seq = refused(desk, channel_id)
    desk.wait(1)
    other = desk.enqueue(channel_id, BOB)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    desk.wait(1)
    refuse(desk, desk.claim_one(channel_id))
    assert desk.message(seq).refusals == 1, "nobody knew yet of another that was taken"
    desk.tick(other, Ack.SERVER)
    desk.wait(1)
    refuse(desk, desk.claim_one(channel_id))
    assert desk.message(seq).refusals == 2


def test_the_tick_of_a_message_that_was_taken_before_is_not_held_against_it(desk: Desk) -> None:
    channel_id = desk.channel()
    other = desk.enqueue(channel_id, BOB)
    desk.finish(desk.leased_claim(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    desk.wait(1)
    seq = desk.enqueue(channel_id, ALICE)
    refuse(desk, desk.claim_one(channel_id))
    desk.tick(other, Ack.SERVER)
    for _ in range(3):
        desk.wait(1)
        refuse(desk, desk.claim_one(channel_id))
    assert (desk.state(seq), desk.message(seq).refusals) == (S.QUEUED, 1)


@pytest.mark.parametrize("cause", [Cause.UNREACHABLE, Cause.THROTTLED, Cause.NOT_STARTED, Cause.STILL_TROUBLED])
def test_what_says_nothing_about_the_message_keeps_its_place(desk: Desk, cause: Cause) -> None:
    channel_id = desk.channel()
    first = refused(desk, channel_id, ALICE, cause)
    desk.enqueue(channel_id, BOB)
    assert desk.claim_one(channel_id).seq == first
    assert desk.message(first).refusals == 0


def test_a_channel_that_is_known_to_be_down_speaks_against_none_of_its_messages(desk: Desk) -> None:
    channel_id = desk.channel()
    first = desk.enqueue(channel_id, ALICE)
    claim = desk.leased_claim(channel_id)
    desk.finish(claim, Cause.CHANNEL_DOWN, channel_is_down=True)
    desk.report(channel_id, Connection.NOT_CONNECTED, "need_scan")
    assert (desk.message(first).refusals, desk.message(first).refused_at) == (0, None)


def test_what_is_taken_at_last_is_no_longer_held_against_it(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = refused(desk, channel_id)
    desk.wait(1)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    row = desk.message(seq)
    assert (row.refusals, row.refused_at, row.retry_at) == (0, None, None)


def test_a_channel_is_not_handed_out_in_circles_for_what_waits_behind_a_refused_one(desk: Desk) -> None:
    channel_id = desk.channel()
    refused(desk, channel_id)
    desk.enqueue(channel_id, ALICE)
    give_back(desk)
    assert desk.lease() == []
    desk.wait(FIRST_PAUSE_S)
    assert desk.lease() == [channel_id]
    desk.claim_one(channel_id)
    give_back(desk)
    assert desk.lease() == []
