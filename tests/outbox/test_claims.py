"""Claims: whose turn it is, one at a time for each recipient, and only under a lease that still holds."""

from datetime import timedelta

from sqlalchemy import select

from tests.outbox.desk import ALICE, BOB, CAROL, OURS, THEIRS, Desk
from worker.channels import states
from worker.domain.channel_state import ChannelState
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.models import Message


def in_sequence(desk: Desk, channel_id: int) -> list[int]:
    """Claim and finish until nothing is left; the order of the claims."""
    order = []
    while claims := desk.claim([channel_id]).claims:
        order.append(claims[0].seq)
        desk.finish(claims[0], Cause.ACCEPTED, gateway_msg_id=claims[0].seq)
    return order


def test_transactional_goes_before_bulk_then_earlier_due_then_first_come(desk: Desk) -> None:
    channel_id = desk.channel()
    bulk = desk.enqueue(channel_id, priority="bulk")
    first = desk.enqueue(channel_id)
    second = desk.enqueue(channel_id)
    desk.wait(1)
    due_before = (desk.now - timedelta(seconds=30)).isoformat()
    late_comer = desk.enqueue(channel_id, send_after=due_before)
    desk.lease()
    assert in_sequence(desk, channel_id) == [first, second, late_comer, bulk]


def test_a_message_is_claimed_when_its_time_has_come_and_not_before(desk: Desk) -> None:
    channel_id = desk.channel()
    later = desk.enqueue(channel_id, send_after=(desk.now + timedelta(seconds=10)).isoformat())
    now = desk.enqueue(channel_id, to=BOB, priority="bulk")
    desk.lease()
    assert in_sequence(desk, channel_id) == [now]
    desk.wait(9.999)
    assert in_sequence(desk, channel_id) == []
    desk.wait(0.001)
    assert in_sequence(desk, channel_id) == [later]


def test_an_expired_message_is_never_claimed(desk: Desk) -> None:
    channel_id = desk.channel()
    expiring = desk.enqueue(channel_id, expires_at=(desk.now + timedelta(seconds=10)).isoformat())
    lasting = desk.enqueue(channel_id, to=BOB)
    desk.lease()
    desk.wait(10)
    assert in_sequence(desk, channel_id) == [lasting]
    assert desk.state(expiring) is MessageState.QUEUED


def test_never_two_to_one_recipient_but_others_go_on(desk: Desk) -> None:
    channel_id = desk.channel()
    first = desk.enqueue(channel_id, ALICE)
    second = desk.enqueue(channel_id, ALICE)
    other = desk.enqueue(channel_id, BOB, priority="bulk")
    desk.lease()
    claim = desk.claim_one(channel_id)
    assert claim.seq == first
    assert desk.claim_one(channel_id).seq == other
    found = desk.claim([channel_id])
    assert found.claims == ()
    assert found.idle == {channel_id}
    desk.finish(claim, Cause.ACCEPTED, gateway_msg_id=1)
    assert desk.claim_one(channel_id).seq == second


def test_one_turn_claims_one_message_on_each_channel(desk: Desk) -> None:
    channels = [desk.channel(name) for name in ("one", "two", "three")]
    for channel_id in channels[:2]:
        for recipient in (ALICE, BOB, CAROL):
            desk.enqueue(channel_id, recipient)
    desk.lease()
    desk.enqueue(channels[2])  # came after the lease was taken
    found = desk.claim(channels)
    assert sorted(claim.channel_id for claim in found.claims) == channels[:2]
    assert found.sendable == set(channels[:2])


def test_a_run_without_the_lease_claims_nothing(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    assert desk.claim([channel_id], OURS).claims == ()
    desk.lease(OURS)
    assert desk.claim([channel_id], THEIRS) == desk.claim([], THEIRS)
    desk.wait(15)
    desk.lease(THEIRS)
    assert desk.claim([channel_id], OURS).sendable == frozenset()
    assert desk.state(seq) is MessageState.QUEUED
    assert desk.claim_one(channel_id, THEIRS).seq == seq


def test_a_channel_that_is_no_longer_up_sends_nothing(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.lease()
    desk.write(lambda c: states.pause(c, channel_id, now=desk.now))
    assert desk.claim([channel_id]).sendable == frozenset()
    desk.set_channel(channel_id, state=ChannelState.UP)
    assert desk.claim_one(channel_id).seq == seq


def test_a_claim_carries_what_is_needed_to_post_and_shows_no_text(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id, "070330 09600", text="a secret")
    claim = desk.leased_claim(channel_id)
    assert (claim.seq, claim.channel_id, claim.recipient, claim.attempt) == (seq, channel_id, ALICE, 1)
    assert claim.content == {"text": "a secret"}
    assert "secret" not in repr(claim)
    row = desk.message(seq)
    assert (row.state, row.lease_token, row.claimed_at) == (MessageState.SENDING, OURS, desk.now)
    assert desk.events(seq)[-1] == ("queued", "sending", "worker")


def test_claims_that_a_run_never_learnt_of_are_put_back_in_their_place(desk: Desk) -> None:
    channel_id = desk.channel()
    known, unknown = desk.enqueue(channel_id, ALICE), desk.enqueue(channel_id, BOB)
    desk.lease()
    with_the_sender = desk.claim_one(channel_id)
    desk.claim_one(channel_id)
    assert desk.put_back(THEIRS) == 0
    assert desk.put_back(OURS, keep=[known]) == 1
    assert desk.state(known) is MessageState.SENDING
    assert desk.state(unknown) is MessageState.QUEUED
    assert desk.events(unknown)[-1] == ("sending", "queued", "worker")
    again = desk.claim_one(channel_id)
    assert (again.seq, again.attempt) == (unknown, 1), "it was never tried, so this is its first attempt"
    desk.finish(with_the_sender, Cause.ACCEPTED, gateway_msg_id=1)
    desk.finish(again, Cause.ACCEPTED, gateway_msg_id=2)
    assert desk.put_back(OURS) == 0
    assert [len(desk.attempts(seq)) for seq in (known, unknown)] == [1, 1]
    assert not desk.read(select(Message.seq).where(Message.state == MessageState.SENDING))
