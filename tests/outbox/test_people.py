"""What a person decides about a message: once it is known that nothing else can, and never about what has arrived."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import update

from tests.outbox.desk import ALICE, BOB, CAROL, Desk
from worker.domain.channel_state import ChannelState
from worker.domain.errors import Conflict, NotFound
from worker.domain.evidence import Ack
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.models import Message
from worker.outbox import people
from worker.outbox.questions import DOUBT_FAILURE_FOR

S = MessageState
DAVE = "+917033009603"


def resend(desk: Desk, seq: int) -> None:
    message_id = desk.message(seq).id
    desk.write(lambda c: people.resend(c, message_id, now=desk.now))


def cancel(desk: Desk, seq: int) -> MessageState:
    message_id = desk.message(seq).id
    state: MessageState = desk.write(lambda c: people.cancel(c, message_id, now=desk.now))
    return state


def doubted(desk: Desk) -> int:
    """Nobody knows whether it went out, and a person was asked."""
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id, ALICE)
    desk.finish(desk.leased_claim(channel_id), Cause.TIMEOUT)
    desk.hold(seq, "in_doubt")
    return seq


def test_a_doubt_that_a_person_was_asked_about_is_sent_again_as_a_new_attempt(desk: Desk) -> None:
    seq = doubted(desk)
    resend(desk, seq)

    row = desk.message(seq)
    assert (row.state, row.attention, row.attempts, row.resends) == (S.QUEUED, None, 1, 1)
    assert desk.events(seq)[-1] == ("in_doubt", "queued", "operator")
    assert desk.claim_one(row.channel_id).attempt == 2


def test_a_failed_message_goes_back_to_the_queue_and_forgets_why_it_failed(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id, ALICE)
    desk.finish(desk.leased_claim(channel_id), Cause.NOT_ON_WHATSAPP)
    resend(desk, seq)

    row = desk.message(seq)
    assert (row.state, row.error_code, row.error_message) == (S.QUEUED, None, None)


def test_a_person_lets_go_of_a_doubt_and_whatsapps_tick_is_still_stronger(desk: Desk) -> None:
    seq = doubted(desk)
    assert cancel(desk, seq) is S.FAILED
    assert desk.message(seq).error_code == "dropped_by_person"

    desk.tick(seq, Ack.DEVICE)
    row = desk.message(seq)
    assert (row.state, row.error_code) == (S.DELIVERED, None)


def test_what_a_person_lets_go_is_asked_about_for_as_long_as_any_failure_if_wasender_has_named_it(desk: Desk) -> None:
    channel_id = desk.channel()
    named, nameless = desk.accepted(channel_id, ALICE), desk.accepted(channel_id, BOB)
    desk.write(lambda c: c.execute(update(Message).where(Message.seq == nameless).values(gateway_msg_id=None)))
    for _ in range(20):
        desk.tick(named, None)
    desk.set_channel(channel_id, state=ChannelState.PAUSED)
    for seq in (named, nameless):
        assert cancel(desk, seq) is S.FAILED

    row = desk.message(named)
    assert (row.next_check_at > desk.now, row.checks) == (True, 0)
    assert desk.message(nameless).next_check_at is None
    desk.wait(DOUBT_FAILURE_FOR.total_seconds())
    desk.tick(named, None)
    assert desk.message(named).next_check_at is not None
    desk.tick(named, Ack.ERROR)
    row = desk.message(named)
    assert (row.error_code, row.next_check_at) == ("dropped_by_person", None), "now it is known"


def test_what_waits_is_withdrawn_once_and_never_sent(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id, ALICE)
    assert cancel(desk, seq) is S.CANCELLED
    assert cancel(desk, seq) is S.CANCELLED

    assert desk.events(seq) == [(None, "queued", "api"), ("queued", "cancelled", "operator")]
    desk.lease()
    assert desk.claim([channel_id]).claims == ()


def test_what_waits_to_be_sent_again_is_let_go_for_its_first_attempt_may_have_been_read(desk: Desk) -> None:
    seq = desk.accepted(desk.channel(), ALICE)
    assert desk.requeue(seq, resent=True)
    assert cancel(desk, seq) is S.FAILED
    assert desk.message(seq).error_code == "dropped_by_person"
    assert desk.events(seq)[-1] == ("queued", "failed", "operator")

    desk.tick(seq, Ack.READ)
    row = desk.message(seq)
    assert (row.state, row.error_code, row.read_at) == (S.READ, None, desk.now)


def test_what_was_only_ever_refused_is_withdrawn_like_one_that_was_never_tried(desk: Desk) -> None:
    channel_id = desk.channel()
    refused, unsent = desk.enqueue(channel_id, ALICE), desk.enqueue(channel_id, BOB)
    desk.finish(desk.leased_claim(channel_id), Cause.NOT_ON_WHATSAPP)
    resend(desk, refused)
    desk.finish(desk.claim_one(channel_id), Cause.CHANNEL_DOWN)

    assert [cancel(desk, seq) for seq in (refused, unsent)] == [S.CANCELLED, S.CANCELLED]


@pytest.mark.parametrize("decide", [resend, cancel])
def test_nobody_decides_while_truetick_can_still_find_out(desk: Desk, decide: Callable[[Desk, int], object]) -> None:
    channel_id = desk.channel()
    in_doubt = desk.enqueue(channel_id, ALICE)
    desk.finish(desk.leased_claim(channel_id), Cause.TIMEOUT)
    accepted = desk.accepted(channel_id, BOB)
    for seq, state in ((in_doubt, S.IN_DOUBT), (accepted, S.ACCEPTED)):
        with pytest.raises(Conflict, match="look again"):
            decide(desk, seq)
        assert desk.state(seq) is state


NOT_UP = [state for state in ChannelState if state is not ChannelState.UP]


@pytest.mark.parametrize("channel_state", NOT_UP)
def test_while_the_channel_cannot_send_a_person_may_decide_at_once(desk: Desk, channel_state: ChannelState) -> None:
    channel_id = desk.channel()
    doubtful = [desk.enqueue(channel_id, to) for to in (ALICE, BOB)]
    desk.lease()
    for _ in doubtful:
        desk.finish(desk.claim_one(channel_id), Cause.TIMEOUT)
    accepted = [desk.accepted(channel_id, to, gateway_msg_id=7 + index) for index, to in enumerate((CAROL, DAVE))]
    desk.set_channel(channel_id, state=channel_state)

    for again, let_go in (doubtful, accepted):
        resend(desk, again)
        cancel(desk, let_go)
        assert (desk.state(again), desk.state(let_go)) == (S.QUEUED, S.FAILED)
    desk.tick(accepted[1], Ack.SERVER)
    assert desk.state(accepted[1]) is S.SENT, "WhatsApp's word is the stronger one"


@pytest.mark.parametrize("decide", [resend, cancel])
def test_what_whatsapp_has_stays_as_it_is(desk: Desk, decide: Callable[[Desk, int], object]) -> None:
    seq = desk.accepted(desk.channel(), ALICE)
    desk.tick(seq, Ack.SERVER)
    with pytest.raises(Conflict, match="WhatsApp has it"):
        decide(desk, seq)
    assert desk.state(seq) is S.SENT


def test_a_message_whose_time_is_over_is_not_sent_again(desk: Desk) -> None:
    ends = (desk.now + timedelta(seconds=5)).isoformat()
    seq = desk.enqueue(desk.channel(), ALICE, expires_at=ends)
    desk.wait(5)
    desk.expire()
    with pytest.raises(Conflict, match="expires_at"):
        resend(desk, seq)
    assert desk.state(seq) is S.EXPIRED


def test_an_unknown_message_is_named(desk: Desk) -> None:
    unknown = uuid4()
    with pytest.raises(NotFound, match=str(unknown)):
        desk.write(lambda c: people.resend(c, unknown, now=desk.now))
