"""WhatsApp's acknowledgements: forward only, whatever their order; and whom to ask about next."""

from datetime import timedelta
from itertools import permutations

import pytest
from sqlalchemy import update

from tests.outbox.desk import ALICE, BOB, CAROL, NOON, SETTLE, Desk
from worker.channels import states
from worker.domain.evidence import Ack, Connection, MessageInfo
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.models import Attempt
from worker.outbox.events import Source
from worker.outbox.questions import (
    CHECK_LEASE,
    DOUBT_FAILURE_CHECKS,
    DOUBT_FAILURE_FOR,
    STOP_ASKING_AFTER,
    SUSPECT_S,
    WATCHED_FOR,
    WATCHED_S,
    ask_soon,
    next_due_at,
    take_due_checks,
)
from worker.outbox.ticks import Tick


def due(desk: Desk, most: int = 100) -> list[int]:
    return [row.seq for row in desk.write(lambda c: take_due_checks(c, now=desk.now, most=most))]


def first_attempt(desk: Desk, seq: int) -> int:
    attempt_id: int = desk.attempts(seq)[0].id
    return attempt_id


def test_acknowledgements_in_any_order_end_at_the_farthest(desk: Desk) -> None:
    channel_id = desk.channel()
    for order in permutations([Ack.SERVER, Ack.DEVICE, Ack.READ]):
        seq = desk.accepted(channel_id)
        for ack in order:
            desk.wait(1)
            desk.tick(seq, ack)
        row = desk.message(seq)
        assert row.state is MessageState.READ
        assert row.sent_at <= row.delivered_at <= row.read_at
        after = [move[1] for move in desk.events(seq)]
        assert after[:3] == ["queued", "sending", "accepted"]
        assert after[3:] == sorted(after[3:], key=["sent", "delivered", "read"].index)


def test_each_tick_is_stored_with_its_time_and_what_proves_it(desk: Desk) -> None:
    seq = desk.accepted(desk.channel(), gateway_msg_id=58224349)
    desk.wait(3)
    jid = "917033009600@s.whatsapp.net"
    assert desk.tick(seq, Ack.SERVER, whatsapp_key_id="3EB0C0FFEE", whatsapp_jid=jid) == 1
    desk.wait(3)
    assert desk.tick(seq, Ack.SERVER) == 0
    assert desk.tick(seq, Ack.PLAYED) == 1
    row = desk.message(seq)
    assert (row.sent_at, row.delivered_at, row.read_at) == (NOON + timedelta(seconds=3), desk.now, desk.now)
    assert (row.whatsapp_key_id, row.whatsapp_jid) == ("3EB0C0FFEE", jid)
    assert row.next_check_at is None
    assert desk.events(seq)[-2:] == [("accepted", "sent", "info"), ("sent", "read", "info")]


@pytest.mark.parametrize("ack", [None, Ack.PENDING, Ack.ERROR])
def test_no_answer_takes_a_tick_back(desk: Desk, ack: Ack | None) -> None:
    seq = desk.accepted(desk.channel())
    for tick, state in [(Ack.SERVER, "sent"), (Ack.DEVICE, "delivered"), (Ack.READ, "read")]:
        desk.tick(seq, tick)
        assert desk.tick(seq, ack) == 0
        assert desk.state(seq) == state
    assert desk.message(seq).error_code is None


def test_an_error_fails_what_nobody_has_ticked_and_a_later_tick_overrides_it(desk: Desk) -> None:
    seq = desk.accepted(desk.channel())
    desk.tick(seq, Ack.ERROR)
    failed = desk.message(seq)
    assert (failed.state, failed.error_code, failed.next_check_at) == (MessageState.FAILED, "whatsapp_error", None)
    assert failed.error_message
    desk.tick(seq, Ack.DEVICE)
    row = desk.message(seq)
    assert (row.state, row.error_code, row.error_message) == (MessageState.DELIVERED, None, None)
    assert row.sent_at == row.delivered_at == desk.now


def test_an_error_that_may_mean_another_message_fails_one_to_be_asked_about_and_in_an_outage_none(desk: Desk) -> None:
    channel_id, down = desk.channel(), desk.channel("down")
    seqs = [desk.accepted(channel_id), desk.accepted(down)]
    desk.report(down, Connection.NOT_CONNECTED, "need_scan")
    for seq in seqs:
        word = Tick(attempt_id=first_attempt(desk, seq), info=MessageInfo(ack=Ack.ERROR), unsure=True)
        desk.learn(desk.message(seq).channel_id, [word], source=Source.WEBHOOK)
    failed, swallowed = (desk.message(seq) for seq in seqs)
    assert (failed.state, failed.next_check_at) == (MessageState.FAILED, desk.now)
    assert swallowed.state is MessageState.ACCEPTED
    assert [desk.attempts(seq)[0].ack for seq in seqs] == [Ack.ERROR, None]

    desk.tick(swallowed.seq, Ack.ERROR)
    assert desk.attempts(swallowed.seq)[0].ack == Ack.ERROR, "this one means it"


@pytest.mark.parametrize("age", [timedelta(minutes=5), DOUBT_FAILURE_FOR * 2, STOP_ASKING_AFTER * 2])
def test_however_old_a_message_is_that_may_have_failed_it_is_asked_about_more_than_once_but_not_without_end(
    desk: Desk, age: timedelta
) -> None:
    seq = desk.accepted(desk.channel())
    desk.wait(age.total_seconds())
    word = Tick(attempt_id=first_attempt(desk, seq), info=MessageInfo(ack=Ack.ERROR), unsure=True)
    desk.learn(desk.message(seq).channel_id, [word], source=Source.WEBHOOK)
    failed_at, asked = desk.now, 0
    while (at := desk.message(seq).next_check_at) is not None:
        desk.wait((at - desk.now).total_seconds())
        asked += 1
        desk.tick(seq, None, problem="timeout")

    assert asked >= DOUBT_FAILURE_CHECKS
    assert timedelta(minutes=40) < desk.now - failed_at < DOUBT_FAILURE_FOR + timedelta(minutes=10)
    assert desk.state(seq) is MessageState.FAILED


def test_a_tick_overrides_expired_doubt_and_queued(desk: Desk) -> None:
    """Each of the three had an attempt without an answer, and two of them were put back to be sent again."""
    channel_id = desk.channel()
    ends = (desk.now + timedelta(seconds=9)).isoformat()
    expired, queued, in_doubt = (
        desk.enqueue(channel_id, to, **how) for to, how in ((BOB, {"expires_at": ends}), (ALICE, {}), (CAROL, {}))
    )
    desk.lease()
    for _ in range(3):
        desk.finish(desk.claim_one(channel_id), Cause.TIMEOUT)
    assert desk.requeue(expired)
    assert desk.requeue(queued)
    desk.wait(9)
    assert desk.expire() == 1
    assert [desk.state(seq) for seq in (expired, queued, in_doubt)] == ["expired", "queued", "in_doubt"]
    for seq in (expired, queued, in_doubt):
        desk.tick(seq, Ack.SERVER)
        row = desk.message(seq)
        assert (row.state, row.error_code, row.sent_at) == (MessageState.SENT, None, desk.now)
        assert row.accepted_at is not None, "what has arrived has been accepted"
    assert desk.claim([channel_id]).claims == (), "what has arrived is not sent again"


def test_a_question_is_asked_when_due_by_one_process_at_a_time_oldest_first(desk: Desk) -> None:
    channel_id = desk.channel()
    first = desk.accepted(channel_id)
    desk.wait(1)
    second = desk.accepted(channel_id)
    assert due(desk) == []
    desk.wait(1)
    assert due(desk) == [first]
    desk.wait(1)
    assert due(desk) == [second], "the first is being asked about"
    desk.wait(CHECK_LEASE.total_seconds())
    assert due(desk, most=1) == [first]
    assert due(desk, most=1) == [second]


def pauses(desk: Desk, seq: int, count: int) -> list[float]:
    """How long is waited after each of so many answers without news, all given at this moment."""
    found = []
    for _ in range(count):
        desk.tick(seq, None)
        found.append((desk.message(seq).next_check_at - desk.now).total_seconds())
    return found


def test_questions_without_news_come_ever_less_often_but_do_not_end(desk: Desk) -> None:
    seq = desk.accepted(desk.channel())
    watched = pauses(desk, seq, 8)
    assert watched == sorted(watched)
    assert (watched[0], watched[-1]) == (4, WATCHED_S), "its tick may just be late"
    desk.wait(WATCHED_FOR.total_seconds())
    assert pauses(desk, seq, 4)[-1] == 600
    desk.wait(STOP_ASKING_AFTER.total_seconds() * 3)
    desk.tick(seq, None)
    assert desk.message(seq).next_check_at is not None, "without a tick nobody may call it sent, so asking goes on"


def test_what_an_outage_may_have_swallowed_is_asked_about_often_and_once_more_when_the_channel_has_settled(
    desk: Desk,
) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id)
    desk.wait(WATCHED_FOR.total_seconds() * 2)
    desk.go_mute(channel_id)
    assert desk.message(seq).next_check_at == desk.now, "much depends on it now"
    assert max(pauses(desk, seq, 8)) == SUSPECT_S
    desk.wait(10)
    desk.tick(desk.accepted(channel_id, BOB), Ack.SERVER)
    up_at = desk.now
    desk.wait(SETTLE.total_seconds() - 3)
    assert max(pauses(desk, seq, 8)) == 3
    assert desk.message(seq).next_check_at == up_at + SETTLE, "the answer after that moment decides"


def test_a_channel_that_is_down_has_its_messages_asked_about_once_more_and_then_left_alone(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id)
    desk.wait(5)
    desk.report(channel_id, Connection.NOT_CONNECTED, "need_scan")
    assert due(desk) == [seq], "that question was due when the channel went down"
    desk.tick(seq, None)
    untouched = desk.message(seq)
    desk.wait(3600)
    assert due(desk) == []
    assert desk.write(next_due_at) is None
    assert desk.message(seq) == untouched
    desk.report(channel_id, Connection.CONNECTED)
    assert due(desk) == [seq]


@pytest.mark.parametrize("state", ["down", "blocked"])
def test_what_is_left_alone_is_in_nobodys_way_and_untouched(desk: Desk, state: str) -> None:
    """However much of it there is, nobody else's question waits behind it."""
    silent, talking = desk.channel("silent"), desk.channel("talking")
    alone = [desk.accepted(silent, f"+9170330{number:05d}") for number in range(30)]
    desk.wait(1)
    asked = desk.accepted(talking)
    desk.set_channel(silent, state=state, since=desk.now - timedelta(hours=3))
    desk.set_channel(talking, since=desk.now - timedelta(hours=3))
    desk.wait(5)
    untouched = [desk.message(seq) for seq in alone]

    assert due(desk, most=5) == [asked]

    assert [desk.message(seq) for seq in alone] == untouched
    assert desk.write(next_due_at) > desk.now


def test_a_channel_that_comes_up_by_way_of_a_person_has_its_messages_asked_about_at_once(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id)
    desk.report(channel_id, Connection.NOT_CONNECTED, "need_scan")
    desk.wait(3600)
    assert due(desk) == []
    desk.write(lambda c: states.pause(c, channel_id, now=desk.now))
    desk.write(lambda c: states.resume(c, channel_id, now=desk.now))
    desk.report(channel_id, Connection.CONNECTED)
    assert due(desk) == [seq]


def test_a_message_in_doubt_is_not_asked_about_for_nobody_knows_its_id(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id)
    desk.finish(desk.leased_claim(channel_id), Cause.TIMEOUT)
    desk.wait(3600)
    assert due(desk) == []
    assert desk.write(next_due_at) is None


def test_all_attempts_that_wasender_named_are_asked_about(desk: Desk) -> None:
    """A message that was sent again may still get the tick of its first attempt."""
    channel_id = desk.channel()
    seq = desk.accepted(channel_id, gateway_msg_id=7)
    assert desk.requeue(seq, resent=True)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=9)
    desk.wait(2)
    rows = desk.write(lambda c: take_due_checks(c, now=desk.now, most=10))
    assert [(row.seq, row.gateway_msg_id) for row in rows] == [(seq, 7), (seq, 9)]


def test_what_wasender_gave_no_id_is_looked_at_once_and_not_for_ever(desk: Desk) -> None:
    seq = desk.accepted(desk.channel(), gateway_msg_id=7)
    desk.write(lambda c: c.execute(update(Attempt).values(gateway_msg_id=None)))
    desk.wait(3)
    assert due(desk) == []
    assert desk.message(seq).next_check_at is None
    assert desk.write(next_due_at) is None


def test_only_the_answer_to_a_question_counts_as_asked(desk: Desk) -> None:
    """A webhook that names a message says nothing about its tick, and a WaSender out of reach says nothing at all."""
    seq = desk.accepted(desk.channel())
    desk.tick(seq, None, source=Source.WEBHOOK, whatsapp_key_id="3EB0C0FFEE")
    desk.tick(seq, None, problem="timeout")
    assert desk.message(seq).asked_at is None
    desk.wait(1)
    desk.tick(seq, None, problem="no_information")
    assert desk.message(seq).asked_at == desk.now
    desk.wait(1)
    desk.tick(seq, Ack.PENDING)
    assert desk.message(seq).asked_at == desk.now


def test_asking_soon_concerns_accepted_messages_of_that_channel_alone(desk: Desk) -> None:
    one, other = desk.channel("one"), desk.channel("other")
    accepted, ticked, elsewhere = desk.accepted(one), desk.accepted(one, BOB), desk.accepted(other)
    desk.tick(ticked, Ack.SERVER)
    before = [desk.message(seq).next_check_at for seq in (ticked, elsewhere)]
    desk.wait(1)
    desk.write(lambda c: ask_soon(c, one, now=desk.now))
    assert desk.message(accepted).next_check_at == desk.now
    assert [desk.message(seq).next_check_at for seq in (ticked, elsewhere)] == before


def test_a_second_tick_is_not_waited_for_without_end(desk: Desk) -> None:
    seq = desk.accepted(desk.channel())
    desk.tick(seq, Ack.SERVER)
    desk.wait(STOP_ASKING_AFTER.total_seconds())
    desk.tick(seq, None)
    assert desk.message(seq).next_check_at is not None
    desk.wait(1)
    desk.tick(seq, None)
    assert desk.message(seq).next_check_at is None


def test_answers_of_one_batch_go_to_their_own_messages(desk: Desk) -> None:
    channel_id = desk.channel()
    acks = [Ack.READ, Ack.SERVER, Ack.PENDING, Ack.DEVICE]
    seqs = [desk.accepted(channel_id) for _ in acks]
    ticks = [
        Tick(attempt_id=first_attempt(desk, seq), info=MessageInfo(ack=ack))
        for seq, ack in zip(seqs, acks, strict=True)
    ]
    assert desk.learn(channel_id, ticks[::-1], source=Source.WEBHOOK) == 3
    assert [desk.state(seq) for seq in seqs] == ["read", "sent", "accepted", "delivered"]
    assert desk.events(seqs[0])[-1] == ("accepted", "read", "webhook")
    assert desk.learn(channel_id, []) == 0


def test_several_words_about_one_message_in_one_batch_add_up(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id)
    attempt_id = first_attempt(desk, seq)
    acks = [Ack.DEVICE, Ack.SERVER, Ack.READ, Ack.READ]
    said = [Tick(attempt_id=attempt_id, info=MessageInfo(ack=ack)) for ack in acks]
    assert desk.learn(channel_id, said, source=Source.WEBHOOK) == 2
    assert [move[1] for move in desk.events(seq)] == ["queued", "sending", "accepted", "delivered", "read"]
    assert desk.message(seq).duplicates == 0


def test_it_is_counted_how_ticks_were_learnt(desk: Desk) -> None:
    channel_id = desk.channel()
    by_webhook, by_asking = desk.accepted(channel_id), desk.accepted(channel_id)
    desk.tick(by_webhook, Ack.SERVER, source=Source.WEBHOOK)
    desk.tick(by_webhook, Ack.SERVER, source=Source.WEBHOOK)
    desk.tick(by_webhook, Ack.READ, source=Source.WEBHOOK)
    desk.tick(by_asking, Ack.DEVICE)
    row = desk.channel_row(channel_id)
    assert (row.ticks_by_webhook, row.ticks_by_asking) == (2, 1), "moves count, not words"
