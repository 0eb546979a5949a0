"""A message whose time ran out while it waited expires; one that is on its way does not."""

from datetime import timedelta

from tests.outbox.desk import ALICE, BOB, CAROL, Desk
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause


def test_only_what_is_queued_and_over_its_time_expires(desk: Desk) -> None:
    channel_id = desk.channel()
    soon = (desk.now + timedelta(seconds=10)).isoformat()
    later = (desk.now + timedelta(seconds=20)).isoformat()
    on_its_way = desk.enqueue(channel_id, ALICE, expires_at=soon)
    claim = desk.leased_claim(channel_id)
    waiting = desk.enqueue(channel_id, BOB, expires_at=soon)
    lasting = desk.enqueue(channel_id, CAROL, expires_at=later)
    endless = desk.enqueue(channel_id, CAROL)

    desk.wait(9.999)
    assert desk.expire() == 0
    desk.wait(0.001)
    assert desk.expire() == 1
    assert desk.expire() == 0

    row = desk.message(waiting)
    assert (row.state, row.error_code) == (MessageState.EXPIRED, "expired")
    assert row.error_message
    assert desk.events(waiting) == [(None, "queued", "api"), ("queued", "expired", "worker")]
    assert desk.state(on_its_way) is MessageState.SENDING
    assert {desk.state(seq) for seq in (lasting, endless)} == {MessageState.QUEUED}

    desk.finish(claim, Cause.UNREACHABLE)
    assert desk.expire() == 1, "put back after its time, it expires now"
    assert desk.state(on_its_way) is MessageState.EXPIRED


def test_expiry_goes_in_batches_the_longest_overdue_first(desk: Desk) -> None:
    channel_id = desk.channel()
    ends = [(desk.now + timedelta(seconds=second)).isoformat() for second in (3, 1, 2)]
    seqs = [desk.enqueue(channel_id, expires_at=end) for end in ends]
    desk.wait(5)
    assert desk.expire(most=2) == 2
    assert [desk.state(seq) for seq in seqs] == ["queued", "expired", "expired"]
    assert desk.expire(most=2) == 1
