"""What a lost worker left behind is in doubt, keeps the pace, and takes that worker's late answer if one comes."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.outbox.desk import ALICE, BOB, CAROL, LEASE, PACE, THEIRS, Desk
from worker.domain.evidence import Ack
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.models import Channel
from worker.outbox.abandoned import channels_left_behind

#: From the beginning of a POST to the next slot.
SPACING = timedelta(seconds=PACE.closest_s)


def left_behind(desk: Desk) -> list[int]:
    return list(desk.write(lambda c: channels_left_behind(c, now=desk.now)))


def test_a_dead_holders_message_is_in_doubt_for_the_next_holder(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id, ALICE)
    desk.enqueue(channel_id, BOB)
    desk.leased_claim(channel_id)
    dead_at = desk.now + LEASE

    desk.wait(14.999)
    assert desk.lease(THEIRS) == [], "the lease still holds"
    assert left_behind(desk) == []
    desk.wait(60)
    assert left_behind(desk) == [channel_id]
    assert desk.lease(THEIRS, holder="host:2") == [channel_id]

    assert desk.state(seq) is MessageState.IN_DOUBT
    assert desk.events(seq)[-1] == ("sending", "in_doubt", "worker")
    (attempt,) = desk.attempts(seq)
    assert (attempt.number, attempt.cause, attempt.started_at) == (1, Cause.WORKER_LOST, None)
    assert attempt.worker == "host:1"
    channel = desk.channel_row(channel_id)
    assert (channel.lease_token, channel.lease_holder) == (THEIRS, "host:2")
    assert channel.next_slot_at >= dead_at + SPACING, "the dead worker may have begun its POST at the very end"
    assert left_behind(desk) == []


def test_the_slot_never_moves_back_when_a_lease_is_taken_over(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id)
    desk.leased_claim(channel_id)
    reserved = desk.now + timedelta(minutes=10)
    desk.set_channel(channel_id, next_slot_at=reserved)
    desk.wait(60)
    assert desk.doubt([channel_id]) == 1
    assert desk.channel_row(channel_id).next_slot_at == reserved


@pytest.mark.parametrize("lease", ["expired", "given back", "somebody else's"])
def test_sending_without_a_live_lease_of_its_own_is_abandoned(desk: Desk, lease: str) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.leased_claim(channel_id)
    if lease == "expired":
        desk.wait(15)
    elif lease == "given back":
        desk.set_channel(channel_id, lease_token=None, lease_expires_at=None, lease_holder=None)
    else:
        desk.set_channel(channel_id, lease_token=THEIRS)
    assert left_behind(desk) == [channel_id]
    assert desk.doubt([channel_id]) == 1
    assert desk.doubt([channel_id]) == 0, "harmless when done twice"
    assert desk.state(seq) is MessageState.IN_DOUBT
    assert desk.channel_row(channel_id).next_slot_at >= desk.now + SPACING


def test_only_the_channels_that_are_named_are_touched(desk: Desk) -> None:
    dead, other = desk.channel("dead"), desk.channel("other")
    seqs = [desk.enqueue(channel_id) for channel_id in (dead, other)]
    desk.lease()
    desk.claim([dead, other])
    desk.wait(15)
    assert desk.doubt([dead]) == 1
    assert [desk.state(seq) for seq in seqs] == [MessageState.IN_DOUBT, MessageState.SENDING]
    assert desk.doubt([]) == 0


@pytest.mark.parametrize(
    ("cause", "after"),
    [
        (Cause.ACCEPTED, MessageState.ACCEPTED),
        (Cause.UNREACHABLE, MessageState.QUEUED),
        (Cause.NOT_STARTED, MessageState.QUEUED),
        (Cause.NOT_ON_WHATSAPP, MessageState.FAILED),
        (Cause.TIMEOUT, MessageState.IN_DOUBT),
    ],
)
def test_the_late_answer_of_a_run_thought_dead_is_evidence(desk: Desk, cause: Cause, after: MessageState) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(20)
    desk.doubt([channel_id])
    desk.wait(1)
    desk.finish(late, cause, gateway_msg_id=7 if cause is Cause.ACCEPTED else None)

    row = desk.message(seq)
    assert row.state is after
    assert row.gateway_msg_id == (7 if cause is Cause.ACCEPTED else None)
    (attempt,) = desk.attempts(seq)
    assert (attempt.cause, attempt.started_at) == (cause, desk.now), "what is known takes the place of the guess"
    moved = [("in_doubt", after.value, "worker")] if after is not MessageState.IN_DOUBT else []
    assert desk.events(seq)[2:] == [("sending", "in_doubt", "worker"), *moved]


def test_a_tick_settles_the_doubt_and_the_late_answer_only_brings_the_id(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(20)
    desk.doubt([channel_id])
    desk.tick(seq, Ack.DEVICE)
    desk.finish(late, Cause.ACCEPTED, gateway_msg_id=7)
    assert (desk.state(seq), desk.message(seq).gateway_msg_id) == (MessageState.DELIVERED, 7)
    assert [move[1] for move in desk.events(seq)] == ["queued", "sending", "in_doubt", "delivered"]


def test_the_rest_of_the_channel_goes_on_after_a_take_over(desk: Desk) -> None:
    channel_id = desk.channel()
    seqs = [desk.enqueue(channel_id, recipient) for recipient in (ALICE, BOB, CAROL, ALICE)]
    desk.lease()
    desk.claim_one(channel_id)
    desk.claim_one(channel_id)
    desk.wait(16)
    desk.lease(THEIRS, horizon_s=60)
    claimed = []
    while claims := desk.claim([channel_id], THEIRS).claims:
        claimed.append(claims[0].seq)
        desk.finish(claims[0], Cause.ACCEPTED, token=THEIRS, gateway_msg_id=claims[0].seq)
    assert claimed == [seqs[2]], "the last one waits for the first one's fate, being to the same recipient"
    assert {desk.state(seq) for seq in seqs[:2]} == {MessageState.IN_DOUBT}
    assert desk.read(select(Channel.lease_token)) == [(THEIRS,)]
