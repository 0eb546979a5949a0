"""Order per recipient: nobody's later message goes out while an earlier one may have to be sent again."""

from collections.abc import Callable

import pytest

from tests.outbox.desk import ALICE, BOB, CAROL, Desk
from worker.domain.evidence import Ack, Connection
from worker.domain.outcomes import Cause
from worker.outbox.claims import Claim

#: Brings a message that has just been claimed where the test wants it.
Fate = Callable[[Desk, Claim], None]


def blink(desk: Desk, channel_id: int) -> None:
    """The channel goes down and comes up again: what it has accepted before is suspect."""
    desk.wait(1)
    desk.report(channel_id, Connection.NOT_CONNECTED, "connecting")
    desk.wait(1)
    desk.report(channel_id, Connection.CONNECTED)
    desk.set_channel(channel_id, unacked_window=100)


def sending(desk: Desk, claim: Claim) -> None:
    """It is on its way, and stays so."""


def in_doubt(desk: Desk, claim: Claim) -> None:
    desk.finish(claim, Cause.TIMEOUT)


def accepted(desk: Desk, claim: Claim) -> None:
    desk.finish(claim, Cause.ACCEPTED, gateway_msg_id=claim.seq)


def suspect(desk: Desk, claim: Claim) -> None:
    accepted(desk, claim)
    blink(desk, claim.channel_id)


def ticked(desk: Desk, claim: Claim) -> None:
    accepted(desk, claim)
    desk.tick(claim.seq, Ack.SERVER)


def failed(desk: Desk, claim: Claim) -> None:
    desk.finish(claim, Cause.NOT_ON_WHATSAPP)


def shown_to_a_person(fate: Fate) -> Fate:
    def then_flagged(desk: Desk, claim: Claim) -> None:
        fate(desk, claim)
        assert desk.hold(claim.seq)

    return then_flagged


def ticked_late(fate: Fate) -> Fate:
    def then_ticked(desk: Desk, claim: Claim) -> None:
        fate(desk, claim)
        desk.tick(claim.seq, Ack.DEVICE)

    return then_ticked


def found(fate: Fate) -> Fate:
    def then_adopted(desk: Desk, claim: Claim) -> None:
        fate(desk, claim)
        assert desk.adopt(claim.seq, gateway_msg_id=claim.seq)

    return then_adopted


def given_up(fate: Fate) -> Fate:
    def then_failed(desk: Desk, claim: Claim) -> None:
        fate(desk, claim)
        assert desk.fail(claim.seq)

    return then_failed


def to_alice_twice(desk: Desk, fate: Fate) -> tuple[int, int, list[int]]:
    """Two messages to Alice, the first of which has that fate. Returns channel, second and what is claimed."""
    channel_id = desk.channel()
    first, second = desk.enqueue(channel_id, ALICE), desk.enqueue(channel_id, ALICE)
    claim = desk.leased_claim(channel_id)
    assert claim.seq == first
    fate(desk, claim)
    return channel_id, second, [claim.seq for claim in desk.claim([channel_id]).claims]


@pytest.mark.parametrize("fate", [sending, in_doubt, suspect], ids=lambda fate: fate.__name__)
def test_a_recipient_waits_while_an_earlier_message_may_have_to_be_sent_again(desk: Desk, fate: Fate) -> None:
    _, _, claimed = to_alice_twice(desk, fate)
    assert claimed == []


@pytest.mark.parametrize(
    "fate",
    [
        accepted,
        ticked,
        failed,
        shown_to_a_person(in_doubt),
        shown_to_a_person(suspect),
        ticked_late(in_doubt),
        ticked_late(suspect),
        found(in_doubt),
        given_up(in_doubt),
    ],
    ids=[
        "accepted on a healthy channel",
        "ticked",
        "failed",
        "in doubt, shown to a person",
        "suspect, shown to a person",
        "ticked after doubt",
        "ticked after an outage",
        "found in the logs",
        "given up",
    ],
)
def test_the_recipient_goes_on_once_nothing_more_will_happen_to_it_by_itself(desk: Desk, fate: Fate) -> None:
    _, second, claimed = to_alice_twice(desk, fate)
    assert claimed == [second]


@pytest.mark.parametrize("fate", [in_doubt, suspect], ids=lambda fate: fate.__name__)
def test_what_is_sent_again_goes_before_what_came_later(desk: Desk, fate: Fate) -> None:
    channel_id = desk.channel()
    seqs = [desk.enqueue(channel_id, ALICE) for _ in range(3)]
    claim = desk.leased_claim(channel_id)
    fate(desk, claim)
    desk.wait(100)
    assert desk.requeue(claim.seq, resent=True)
    order = []
    while claims := desk.claim([channel_id]).claims:
        order.append(claims[0].seq)
        desk.finish(claims[0], Cause.ACCEPTED, gateway_msg_id=100 + claims[0].seq)
    assert order == seqs


@pytest.mark.parametrize("fate", [sending, in_doubt, suspect], ids=lambda fate: fate.__name__)
def test_nobody_else_is_held_up(desk: Desk, fate: Fate) -> None:
    channel_id, _, claimed = to_alice_twice(desk, fate)
    assert claimed == []
    others = [desk.enqueue(channel_id, BOB, priority="bulk"), desk.enqueue(channel_id, CAROL, priority="bulk")]
    assert [desk.claim_one(channel_id).seq for _ in others] == others


def test_the_same_recipient_on_another_channel_is_somebody_else(desk: Desk) -> None:
    _, _, claimed = to_alice_twice(desk, in_doubt)
    assert claimed == []
    other = desk.channel("other")
    seq = desk.enqueue(other, ALICE)
    desk.lease()
    assert desk.claim_one(other).seq == seq


@pytest.mark.parametrize("priority", ["transactional", "bulk"])
def test_messages_of_equal_rank_to_one_recipient_keep_their_order_through_refusals(desk: Desk, priority: str) -> None:
    channel_id = desk.channel()
    seqs = [desk.enqueue(channel_id, ALICE, priority=priority) for _ in range(3)]
    desk.lease()
    causes = [Cause.UNREACHABLE, Cause.THROTTLED, Cause.ACCEPTED, Cause.CHANNEL_DOWN, Cause.ACCEPTED, Cause.ACCEPTED]
    arrived = []
    for cause in causes:
        desk.wait(1)
        claim = desk.claim_one(channel_id)
        desk.finish(claim, cause, gateway_msg_id=claim.seq if cause is Cause.ACCEPTED else None)
        if cause is Cause.ACCEPTED:
            arrived.append(claim.seq)
    assert arrived == seqs


def test_transactional_messages_pass_bulk_ones_but_not_one_that_is_open_to_their_recipient(desk: Desk) -> None:
    channel_id = desk.channel()
    bulk = [desk.enqueue(channel_id, to, priority="bulk") for to in (ALICE, BOB)]
    first = desk.leased_claim(channel_id)
    assert first.seq == bulk[0]
    urgent = [desk.enqueue(channel_id, to) for to in (ALICE, CAROL)]
    desk.finish(first, Cause.TIMEOUT)
    assert desk.claim_one(channel_id).seq == urgent[1], "Carol's passes Bob's"
    assert desk.claim_one(channel_id).seq == bulk[1]
    assert desk.claim([channel_id]).claims == (), "Alice's waits for the one in doubt"
    desk.requeue(first.seq)
    assert desk.claim_one(channel_id).seq == urgent[0], "back in the queue, a bulk message is passed as others are"


def test_a_channel_whose_only_messages_wait_for_their_recipients_is_not_handed_out_in_circles(desk: Desk) -> None:
    channel_id, _, claimed = to_alice_twice(desk, in_doubt)
    assert claimed == []
    desk.set_channels(lease_token=None, lease_expires_at=None, lease_holder=None, next_slot_at=desk.now)
    assert desk.lease() == []
    desk.enqueue(channel_id, BOB)
    assert desk.lease() == [channel_id]
