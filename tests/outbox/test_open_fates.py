"""Open fates: who is judged when, what a judgement writes, and that nothing is judged twice or over newer news."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.outbox.desk import ALICE, BOB, CAROL, NOON, SETTLE, Desk
from worker.channels import states
from worker.domain.evidence import Ack, Connection
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.models import Channel, Event, Message
from worker.outbox import open_fates
from worker.outbox.abandoned import FIRST_LOOK_AFTER
from worker.outbox.events import Source
from worker.outbox.open_fates import LEASE

S = MessageState
Judge = Callable[[Desk, int, Any], bool]
#: Each judgement, by the state it leads to.
JUDGEMENTS: dict[str, Judge] = {
    "accepted": lambda desk, seq, fate: desk.adopt(seq, fate=fate, gateway_msg_id=58224349),
    "queued": lambda desk, seq, fate: desk.requeue(seq, fate=fate),
    "failed": lambda desk, seq, fate: desk.fail(seq, fate=fate),
    "in_doubt": lambda desk, seq, fate: desk.hold(seq, "in_doubt", fate=fate),
}


def in_doubt(desk: Desk, to: str = ALICE, **request: Any) -> int:
    """A message whose POST was not answered. Returns its seq."""
    channels = [row.id for row in desk.read(select(Channel.id))]
    channel_id = channels[0] if channels else desk.channel()
    seq = desk.enqueue(channel_id, to, **request)
    if desk.channel_row(channel_id).lease_token is None:
        desk.lease()
    claim = desk.claim_one(channel_id)
    assert claim.seq == seq
    desk.finish(claim, Cause.TIMEOUT)
    return seq


def due(desk: Desk, most: int = 100) -> Sequence[Any]:
    rows: Sequence[Any] = desk.write(lambda c: open_fates.take_due_doubts(c, now=desk.now, most=most))
    return rows


def swallowed(desk: Desk, settle: timedelta = SETTLE) -> Sequence[Any]:
    rows: Sequence[Any] = desk.write(lambda c: open_fates.take_swallowed(c, now=desk.now, settle=settle))
    return rows


def blink(desk: Desk, channel_id: int) -> None:
    desk.wait(1)
    desk.report(channel_id, Connection.NOT_CONNECTED, "connecting")
    desk.wait(1)
    desk.report(channel_id, Connection.CONNECTED)


# In doubt


def test_a_doubt_is_judged_when_evidence_can_be_there_by_one_process_at_a_time(desk: Desk) -> None:
    first = in_doubt(desk, ALICE)
    desk.wait(1)
    second = in_doubt(desk, BOB)
    assert due(desk) == ()
    desk.wait(FIRST_LOOK_AFTER.total_seconds())
    assert [row.seq for row in due(desk, most=1)] == [first], "the longest waiting first"
    assert [row.seq for row in due(desk)] == [second]
    assert due(desk) == ()
    desk.wait(LEASE.total_seconds())
    assert [row.seq for row in due(desk)] == [first, second], "whoever was to judge them has died"


def test_whoever_judges_a_doubt_is_given_all_that_it_needs(desk: Desk) -> None:
    seq = in_doubt(desk, on_doubt="resend")
    desk.wait(5)
    (row,) = due(desk)
    (attempt,) = desk.attempts(seq)
    assert (row.seq, row.attempt_id, row.started_at, row.finished_at) == (seq, attempt.id, NOON, NOON)
    assert (row.recipient, row.attempts, row.doubts, row.resends, row.on_doubt) == (ALICE, 1, 1, 0, "resend")
    assert (row.channel_state, row.overtaken) == ("up", False)


def test_what_a_person_was_asked_about_is_judged_no_more(desk: Desk) -> None:
    seq = in_doubt(desk)
    assert desk.hold(seq, "in_doubt")
    desk.wait(3600)
    assert due(desk) == ()


def test_doubts_of_a_channel_that_is_down_are_judged_once_more_and_then_wait_for_it(desk: Desk) -> None:
    seq = in_doubt(desk)
    channel_id = desk.message(seq).channel_id
    desk.wait(6)
    desk.report(channel_id, Connection.NOT_CONNECTED, "need_scan")
    assert [row.seq for row in due(desk)] == [seq]
    desk.wait(3600)
    assert due(desk) == ()
    desk.report(channel_id, Connection.CONNECTED)
    assert [row.seq for row in due(desk)] == [seq]


def test_a_doubt_that_is_overtaken_says_so(desk: Desk) -> None:
    seq = in_doubt(desk)
    desk.hold(seq, "in_doubt")
    desk.wait(1)
    channel_id = desk.message(seq).channel_id
    later = desk.accepted(channel_id, ALICE)
    desk.write(lambda c: c.execute(update(Message).values(attention=None, next_check_at=NOON)))
    assert [row.overtaken for row in due(desk)] == [False], "accepted is not gone out"
    desk.tick(later, Ack.SERVER)
    desk.wait(61)
    assert [row.overtaken for row in due(desk)] == [True]


# Judgements


@pytest.mark.parametrize("after", JUDGEMENTS)
def test_each_judgement_is_written_once_with_its_event(desk: Desk, after: str) -> None:
    seq = in_doubt(desk)
    before, fate = desk.events(seq), desk.fate(seq)
    assert JUDGEMENTS[after](desk, seq, fate)
    assert desk.state(seq) == after
    assert desk.events(seq)[:-1] == before
    assert desk.events(seq)[-1][:2] == ("in_doubt", after)
    if after != "in_doubt":
        written = desk.message(seq), desk.events(seq)
        assert not JUDGEMENTS[after](desk, seq, fate)
        assert (desk.message(seq), desk.events(seq)) == written


@pytest.mark.parametrize("after", JUDGEMENTS)
@pytest.mark.parametrize("news", ["ticked", "answered late", "sent again", "refused since"])
def test_a_judgement_yields_to_whatever_has_moved_the_message_meanwhile(desk: Desk, after: str, news: str) -> None:
    seq = in_doubt(desk)
    fate = desk.fate(seq)
    desk.wait(1)
    if news == "ticked":
        desk.tick(seq, Ack.SERVER)
    elif news == "answered late":
        desk.adopt(seq, gateway_msg_id=7)
    else:
        desk.requeue(seq)
        claim = desk.claim_one(fate.channel_id)
        desk.finish(claim, Cause.TIMEOUT if news == "sent again" else Cause.UNREACHABLE)
    stored = desk.message(seq), desk.events(seq), desk.attempts(seq)
    assert not JUDGEMENTS[after](desk, seq, fate)
    assert (desk.message(seq), desk.events(seq), desk.attempts(seq)) == stored


def test_a_judgement_about_a_refused_attempt_is_not_taken_for_one_about_the_attempt_that_got_its_number(
    desk: Desk,
) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    fate = desk.fate(seq)
    desk.finish(late, Cause.UNREACHABLE)
    again = desk.claim_one(channel_id)
    assert again.attempt == late.attempt
    desk.finish(again, Cause.TIMEOUT)
    assert not desk.requeue(seq, fate=fate), "the logs showed nothing of the first; of the second they know nothing"
    assert desk.state(seq) is S.IN_DOUBT


def test_what_was_found_is_accepted_under_its_ids_and_asked_about_at_once(desk: Desk) -> None:
    seq = in_doubt(desk)
    finished_at = desk.now
    desk.wait(30)
    assert desk.adopt(seq, gateway_msg_id=58224349)
    row = desk.message(seq)
    assert (row.state, row.gateway_msg_id, row.accepted_at) == (S.ACCEPTED, 58224349, finished_at)
    assert (row.next_check_at, row.attention) == (desk.now, None)
    assert [attempt.gateway_msg_id for attempt in desk.attempts(seq)] == [58224349]
    assert desk.events(seq)[-1] == ("in_doubt", "accepted", "logs")


def test_what_goes_back_to_the_queue_keeps_its_place_and_forgets_nothing_of_its_attempt(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id, gateway_msg_id=7)
    desk.tick(seq, None, whatsapp_key_id="3EB0")
    before = desk.message(seq)
    assert desk.requeue(seq, resent=True)
    row = desk.message(seq)
    assert (row.due_at, row.priority, row.attempts) == (before.due_at, before.priority, 1)
    assert (row.gateway_msg_id, row.whatsapp_key_id, row.accepted_at, row.next_check_at) == (None, None, None, None)
    assert row.resends == 1
    (attempt,) = desk.attempts(seq)
    assert (attempt.gateway_msg_id, attempt.whatsapp_key_id) == (7, "3EB0")


def test_what_is_proven_absent_does_not_count_as_sent_again(desk: Desk) -> None:
    seq = in_doubt(desk)
    desk.requeue(seq)
    assert (desk.message(seq).resends, desk.message(seq).doubts) == (0, 1)


def test_what_failed_tells_why(desk: Desk) -> None:
    seq = in_doubt(desk)
    desk.fail(seq)
    row = desk.message(seq)
    assert (row.error_code, row.error_message, row.next_check_at) == ("gateway_failed", "It failed.", None)


# Accepted, and perhaps swallowed by an outage


def test_what_an_outage_may_have_swallowed_is_judged_when_the_channel_has_been_up_for_the_settle_time(
    desk: Desk,
) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id)
    blink(desk, channel_id)
    after = desk.accepted(channel_id, BOB)
    desk.wait(SETTLE.total_seconds() - 0.001)
    assert swallowed(desk) == ()
    desk.wait(0.001)
    assert [row.seq for row in swallowed(desk)] == [seq]
    assert desk.state(after) is S.ACCEPTED


@pytest.mark.parametrize("state", ["down", "mute", "paused"])
def test_nothing_is_judged_on_a_channel_that_is_not_up(desk: Desk, state: str) -> None:
    channel_id = desk.channel()
    desk.accepted(channel_id)
    blink(desk, channel_id)
    if state == "down":
        desk.report(channel_id, Connection.NOT_CONNECTED, "need_scan")
    elif state == "mute":
        desk.go_mute(channel_id)
    else:
        desk.write(lambda c: states.pause(c, channel_id, now=desk.now))
    desk.wait(3600)
    assert swallowed(desk) == ()


def test_messages_of_a_channel_that_was_healthy_all_along_are_never_among_them(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.accepted(channel_id)
    desk.write(lambda c: states.pause(c, channel_id, now=desk.now))
    desk.write(lambda c: states.resume(c, channel_id, now=desk.now))
    desk.report(channel_id, Connection.CONNECTED)
    desk.wait(3600)
    assert swallowed(desk) == ()


def test_of_a_pair_to_one_recipient_the_first_says_when_the_second_has_gone_out(desk: Desk) -> None:
    channel_id = desk.channel()
    first = desk.accepted(channel_id, ALICE, gateway_msg_id=1)
    desk.wait(1)
    second = desk.accepted(channel_id, ALICE, gateway_msg_id=2)
    blink(desk, channel_id)
    desk.wait(60)
    assert [(row.seq, row.overtaken) for row in swallowed(desk)] == [(first, False), (second, False)]
    desk.tick(second, Ack.SERVER)
    assert [(row.seq, row.overtaken) for row in swallowed(desk)] == [(first, True)]


def test_a_pair_that_is_sent_again_together_keeps_its_order(desk: Desk) -> None:
    channel_id = desk.channel()
    first = desk.accepted(channel_id, ALICE, gateway_msg_id=1)
    second = desk.accepted(channel_id, ALICE, gateway_msg_id=2)
    blink(desk, channel_id)
    desk.wait(60)
    assert desk.requeue(second, resent=True)
    assert desk.claim([channel_id]).claims == (), "the first one's fate is still open"
    assert desk.requeue(first, resent=True)
    assert desk.claim_one(channel_id).seq == first
    assert desk.claim([channel_id]).claims == ()


def test_a_message_without_a_tick_on_a_healthy_channel_is_shown_to_a_person_only(desk: Desk) -> None:
    channel_id, down = desk.channel(), desk.channel("down")
    seq, _ = desk.accepted(channel_id), desk.accepted(down)
    desk.report(down, Connection.NOT_CONNECTED, "need_scan")
    desk.wait(1)
    recent = desk.accepted(channel_id, BOB)

    def unticked() -> list[int]:
        return [row.seq for row in desk.write(lambda c: open_fates.unticked_too_long(c, before=desk.now))]

    assert unticked() == [seq]
    assert desk.hold(seq)
    assert unticked() == []
    row = desk.message(seq)
    assert (row.state, row.attention) == (S.ACCEPTED, "no_tick")
    assert row.next_check_at is not None, "it is asked about all the same"
    assert desk.state(recent) is S.ACCEPTED


def test_what_a_mute_channel_swallowed_waits_for_the_channel_whether_or_not_it_has_a_message_to_try(
    desk: Desk,
) -> None:
    busy, idle = desk.channel("busy"), desk.channel("idle")
    seqs = [desk.accepted(busy, ALICE), desk.accepted(idle, BOB)]
    desk.enqueue(busy, CAROL)
    for channel_id in (busy, idle):
        desk.go_mute(channel_id)
    desk.wait(1)

    assert desk.write(lambda c: open_fates.unticked_too_long(c, before=desk.now)) == []
    out = desk.write(lambda c: open_fates.out_too_long(c, before=desk.now))
    assert sorted(row.seq for row in out) == seqs


# Late ticks


@pytest.mark.parametrize("state", ["failed", "expired", "in_doubt", "queued", "accepted and flagged"])
def test_a_late_tick_wins(desk: Desk, state: str) -> None:
    ends = (desk.now + timedelta(seconds=60)).isoformat()
    seq = in_doubt(desk, expires_at=ends)
    if state == "failed":
        desk.fail(seq)
    elif state == "accepted and flagged":
        desk.adopt(seq, gateway_msg_id=7)
        desk.hold(seq)
    elif state in {"expired", "queued"}:
        desk.requeue(seq)
        desk.wait(60 if state == "expired" else 0)
        desk.expire()
    assert desk.state(seq) == state.split()[0]
    desk.tick(seq, Ack.DEVICE, source=Source.WEBHOOK)
    row = desk.message(seq)
    assert (row.state, row.error_code, row.error_message, row.attention) == (S.DELIVERED, None, None, None)
    assert row.duplicates == 0
    assert desk.events(seq)[-1] == (state.split()[0], "delivered", "webhook")


def sent_twice(desk: Desk) -> int:
    """A message whose second attempt was ticked. Returns its seq."""
    channel_id = desk.channel()
    seq = desk.accepted(channel_id, gateway_msg_id=7)
    desk.requeue(seq, resent=True)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=9)
    desk.tick(seq, Ack.SERVER, attempt=2)
    return seq


def duplicate_events(desk: Desk, seq: int) -> list[Any]:
    query = select(Event).where(Event.message_seq == seq, Event.reason == "duplicate")
    return list(desk.read(query))


def test_the_originals_late_tick_after_it_was_sent_again_is_counted_as_a_duplicate(desk: Desk) -> None:
    seq = sent_twice(desk)
    moves = len(desk.events(seq))
    assert desk.tick(seq, Ack.SERVER, attempt=1, source=Source.WEBHOOK) == 0
    row = desk.message(seq)
    assert (row.state, row.duplicates) == (S.SENT, 1)
    (told,) = duplicate_events(desk, seq)
    assert (told.before, told.after, told.source) == ("sent", "sent", "webhook")
    assert told.evidence["attempt"] == 1
    desk.tick(seq, Ack.SERVER, attempt=1)
    assert desk.message(seq).duplicates == 1, "it is counted once"
    assert len(desk.events(seq)) == moves + 1


def test_a_duplicate_that_is_read_moves_the_message_and_is_told_all_the_same(desk: Desk) -> None:
    seq = sent_twice(desk)
    assert desk.tick(seq, Ack.READ, attempt=1) == 1
    assert (desk.state(seq), desk.message(seq).duplicates) == (S.READ, 1)
    assert desk.events(seq)[-2:] == [("sent", "read", "info"), ("read", "read", "info")]
    assert len(duplicate_events(desk, seq)) == 1


def test_the_failure_of_an_attempt_says_nothing_about_a_message_that_was_sent_again(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id, gateway_msg_id=7)
    desk.requeue(seq, resent=True)
    desk.tick(seq, Ack.ERROR, attempt=1)
    assert desk.state(seq) is S.QUEUED
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=9)
    desk.tick(seq, Ack.ERROR, attempt=1)
    assert desk.state(seq) is S.ACCEPTED
    desk.tick(seq, Ack.ERROR, attempt=2)
    assert desk.state(seq) is S.FAILED


def test_neither_a_claim_nor_a_rival_shows_whom_it_is_for(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id, ALICE)
    claim = desk.leased_claim(channel_id)
    (rival,) = desk.write(lambda c: open_fates.rivals(c, channel_id, besides=[], now=desk.now))
    assert (claim.recipient, rival.recipient) == (ALICE, ALICE)
    assert ALICE[3:] not in f"{claim!r} {rival!r}"


@pytest.mark.parametrize(("source", "by_webhook", "by_asking"), [(Source.WEBHOOK, 1, 0), (Source.LOGS, 0, 1)])
def test_what_was_found_counts_for_the_way_in_which_it_was_learnt(
    desk: Desk, source: Source, by_webhook: int, by_asking: int
) -> None:
    seq = in_doubt(desk)
    fate = desk.fate(seq)
    assert desk.adopt(seq, fate=fate, source=source, gateway_msg_id=7)
    assert not desk.adopt(seq, fate=fate, source=source, gateway_msg_id=7)
    channel = desk.channel_row(fate.channel_id)
    assert (channel.ticks_by_webhook, channel.ticks_by_asking) == (by_webhook, by_asking)
