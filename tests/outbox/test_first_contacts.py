"""The day's budget of strangers: never one too many, their order kept, and nobody else held up by them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.outbox.desk import ALICE, BOB, CAROL, NOON, PACE, THEIRS, Desk
from worker.channels import registry
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.outbox import reading

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def channel_id(desk: Desk) -> int:
    """Two strangers a day."""
    channel_id = desk.channel()
    desk.set_channel(channel_id, first_contact_cap=2)
    return channel_id


def sent_now(desk: Desk, channel_id: int) -> list[int]:
    desk.lease()
    order = []
    while claims := desk.claim([channel_id]).claims:
        order.append(claims[0].seq)
        desk.finish(claims[0], Cause.ACCEPTED, gateway_msg_id=claims[0].seq)
    return order


def counted(desk: Desk, channel_id: int) -> tuple[Any, int]:
    row = desk.channel_row(channel_id)
    return row.first_contacts_on, row.first_contacts_that_day


def strangers(desk: Desk, channel_id: int, count: int, **request: Any) -> list[int]:
    return [desk.enqueue(channel_id, f"+9170330{index:05d}", **request) for index in range(count)]


def test_strangers_beyond_the_budget_wait_for_the_next_day(desk: Desk, channel_id: int) -> None:
    seqs = strangers(desk, channel_id, 5)
    assert sent_now(desk, channel_id) == seqs[:2]
    assert counted(desk, channel_id) == (NOON.date(), 2)
    assert {(desk.message(seq).due_at, desk.message(seq).held_by) for seq in seqs[2:]} == {
        (MIDNIGHT, "first_contacts")
    }
    desk.now = MIDNIGHT - timedelta(seconds=1)
    assert sent_now(desk, channel_id) == []
    desk.now = MIDNIGHT
    assert sent_now(desk, channel_id) == seqs[2:4]
    assert counted(desk, channel_id) == (MIDNIGHT.date(), 2)
    desk.now = MIDNIGHT + timedelta(days=1)
    assert sent_now(desk, channel_id) == seqs[4:]


def test_whom_the_channel_knows_goes_on_and_each_stranger_counts_once(desk: Desk, channel_id: int) -> None:
    known = desk.enqueue(channel_id, ALICE)
    assert sent_now(desk, channel_id) == [known]
    again = [desk.enqueue(channel_id, ALICE) for _ in range(3)]
    one, other = strangers(desk, channel_id, 2)
    more = desk.enqueue(channel_id, ALICE)
    assert sent_now(desk, channel_id) == [*again, one, more]
    assert counted(desk, channel_id)[1] == 2
    assert desk.message(other).held_by == "first_contacts"


def test_all_that_waits_for_a_stranger_waits_with_the_first_one_in_its_order(desk: Desk, channel_id: int) -> None:
    assert len(sent_now(desk, channel_id)) == 0
    strangers(desk, channel_id, 2)
    first = desk.enqueue(channel_id, ALICE, priority="bulk")
    second = desk.enqueue(channel_id, ALICE, priority="bulk")
    later = desk.enqueue(channel_id, ALICE, priority="bulk", send_after=(NOON + timedelta(hours=1)).isoformat())
    assert len(sent_now(desk, channel_id)) == 2
    desk.wait(2 * 3600)
    assert sent_now(desk, channel_id) == []
    desk.now = MIDNIGHT
    assert sent_now(desk, channel_id) == [first, second, later]
    assert counted(desk, channel_id)[1] == 1


def test_a_stranger_who_is_held_keeps_nobody_from_being_written_to(desk: Desk, channel_id: int) -> None:
    known = desk.enqueue(channel_id, BOB)
    assert sent_now(desk, channel_id) == [known]
    one, *others = strangers(desk, channel_id, 30)
    to_known = desk.enqueue(channel_id, BOB)
    assert sent_now(desk, channel_id) == [one, to_known]
    assert {desk.message(seq).held_by for seq in others} == {"first_contacts"}


@pytest.mark.parametrize("cause", [Cause.UNREACHABLE, Cause.CHANNEL_DOWN, Cause.THROTTLED, Cause.NOT_STARTED])
def test_a_post_that_does_not_count_counts_no_first_contact(desk: Desk, channel_id: int, cause: Cause) -> None:
    seqs = strangers(desk, channel_id, 2)
    claim = desk.leased_claim(channel_id)
    assert claim.first_contact
    assert counted(desk, channel_id)[1] == 1
    desk.finish(claim, cause, channel_is_down=True)
    assert counted(desk, channel_id)[1] == 0
    assert sent_now(desk, channel_id) == seqs
    assert counted(desk, channel_id)[1] == 2


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.NOT_ON_WHATSAPP, Cause.ACCEPTED])
def test_a_post_that_may_have_reached_somebody_counts(desk: Desk, channel_id: int, cause: Cause) -> None:
    strangers(desk, channel_id, 3)
    desk.finish(desk.leased_claim(channel_id), cause, gateway_msg_id=7)
    assert counted(desk, channel_id)[1] == 1
    assert len(sent_now(desk, channel_id)) == 1


@pytest.mark.parametrize("cause", [Cause.NOT_ON_WHATSAPP, Cause.MEDIA_REFUSED])
def test_a_message_that_was_refused_before_any_post_counts_no_first_contact(
    desk: Desk, channel_id: int, cause: Cause
) -> None:
    strangers(desk, channel_id, 3)
    desk.finish(desk.leased_claim(channel_id), cause, posted=False)
    assert counted(desk, channel_id)[1] == 0
    assert len(sent_now(desk, channel_id)) == 2


def test_a_refusal_learnt_on_another_day_takes_nothing_from_that_days_budget(desk: Desk, channel_id: int) -> None:
    strangers(desk, channel_id, 3)
    yesterdays = desk.leased_claim(channel_id)
    desk.now = MIDNIGHT
    todays = desk.claim_one(channel_id)
    assert counted(desk, channel_id) == (MIDNIGHT.date(), 1)
    desk.finish(yesterdays, Cause.UNREACHABLE)
    assert counted(desk, channel_id) == (MIDNIGHT.date(), 1)
    desk.finish(todays, Cause.UNREACHABLE)
    assert counted(desk, channel_id) == (MIDNIGHT.date(), 0)


def test_claims_that_a_run_never_learnt_of_are_not_counted(desk: Desk, channel_id: int) -> None:
    strangers(desk, channel_id, 2)
    desk.lease()
    desk.claim_one(channel_id)
    assert desk.put_back() == 1
    assert counted(desk, channel_id)[1] == 0
    assert len(sent_now(desk, channel_id)) == 2


def test_a_first_message_that_was_never_sent_leaves_its_recipient_a_stranger(desk: Desk, channel_id: int) -> None:
    expiring = desk.enqueue(channel_id, ALICE, expires_at=(NOON + timedelta(seconds=5)).isoformat())
    second = desk.enqueue(channel_id, ALICE)
    desk.wait(5)
    assert desk.expire() == 1
    assert sent_now(desk, channel_id) == [second]
    assert counted(desk, channel_id)[1] == 1
    assert desk.state(expiring) is MessageState.EXPIRED


def test_each_channel_has_strangers_and_a_budget_of_its_own(desk: Desk, channel_id: int) -> None:
    other = desk.channel("other")
    desk.set_channel(other, first_contact_cap=1)
    unbounded = desk.channel("unbounded")
    for each in (channel_id, other, unbounded):
        strangers(desk, each, 3)
    assert len(sent_now(desk, channel_id)) == 2
    assert len(sent_now(desk, other)) == 1
    assert len(sent_now(desk, unbounded)) == 3
    assert counted(desk, unbounded) == (None, 0)


def test_groups_are_no_strangers(desk: Desk, channel_id: int) -> None:
    seqs = [desk.enqueue(channel_id, f"12036302524612501{index}@g.us") for index in range(3)]
    assert sent_now(desk, channel_id) == seqs


def test_a_lost_workers_first_contact_stays_counted(desk: Desk, channel_id: int) -> None:
    strangers(desk, channel_id, 3)
    desk.leased_claim(channel_id)
    desk.wait(16)
    desk.lease(THEIRS)
    assert len(desk.claim([channel_id], THEIRS).claims) == 1
    assert counted(desk, channel_id)[1] == 2
    assert desk.claim([channel_id], THEIRS).claims == ()


def test_whoever_asks_is_told_why_a_stranger_waits(desk: Desk, channel_id: int) -> None:
    seqs = strangers(desk, channel_id, 3)
    sent_now(desk, channel_id)
    view = desk.write(lambda c: reading.get(c, desk.message(seqs[2]).id, desk.now))
    assert view.pending.code == "first_contacts"
    assert "2026-11-23 00:00:00 UTC" in view.pending.sentence


def test_the_default_channel_has_the_budget_that_the_workers_environment_says(desk: Desk) -> None:
    desk.write(lambda c: registry.follow_environment(c, PACE, desk.now, first_contact_cap=7))
    default = desk.write(lambda c: registry.ensure_default(c, PACE, desk.now))
    assert desk.channel_row(default).first_contact_cap == 7
    desk.write(lambda c: registry.follow_environment(c, PACE, desk.now))
    assert desk.channel_row(default).first_contact_cap is None


def test_a_budget_without_strangers_holds_up_nobody_for_quiet_reasons(desk: Desk, channel_id: int) -> None:
    """Messages that were stored before there was a budget are not counted."""
    desk.set_channel(channel_id, first_contact_cap=None)
    early = [desk.enqueue(channel_id, to) for to in (ALICE, BOB, CAROL)]
    desk.set_channel(channel_id, first_contact_cap=1)
    assert sent_now(desk, channel_id) == early
    assert counted(desk, channel_id) == (None, 0)
