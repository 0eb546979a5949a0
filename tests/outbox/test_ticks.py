"""WhatsApp's acknowledgements: forward only, whatever their order; and whom to ask about next."""

from datetime import timedelta
from itertools import permutations

import pytest

from tests.outbox.desk import ALICE, BOB, NOON, Desk
from worker.domain.evidence import Ack, MessageInfo
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.outbox.events import Source
from worker.outbox.ticks import CHECK_LEASE, PAUSES_S, STOP_ASKING_AFTER, Answer, apply_answers, take_due_checks


def due(desk: Desk, most: int = 100) -> list[int]:
    return [row.seq for row in desk.write(lambda c: take_due_checks(c, now=desk.now, most=most))]


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


def test_a_tick_overrides_expired_doubt_and_queued(desk: Desk) -> None:
    channel_id = desk.channel()
    expired = desk.enqueue(channel_id, BOB, expires_at=(desk.now + timedelta(seconds=1)).isoformat())
    desk.wait(1)
    desk.expire()
    in_doubt = desk.enqueue(channel_id, ALICE)
    queued = desk.enqueue(channel_id, ALICE)
    desk.finish(desk.leased_claim(channel_id), Cause.TIMEOUT)
    for seq in (expired, in_doubt, queued):
        desk.tick(seq, Ack.SERVER)
        row = desk.message(seq)
        assert (row.state, row.error_code, row.sent_at) == (MessageState.SENT, None, desk.now)
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


def test_questions_without_news_come_ever_less_often_but_do_not_end(desk: Desk) -> None:
    seq = desk.accepted(desk.channel())
    pauses = []
    for _ in range(14):
        desk.tick(seq, None)
        pauses.append((desk.message(seq).next_check_at - desk.now).total_seconds())
    most_s = PAUSES_S[MessageState.ACCEPTED][1]
    assert pauses == sorted(pauses)
    assert pauses[-1] == most_s
    desk.wait(STOP_ASKING_AFTER.total_seconds() * 3)
    desk.tick(seq, None)
    assert desk.message(seq).next_check_at is not None, "without a tick nobody may call it sent, so asking goes on"


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
    answers = [Answer(seq=seq, info=MessageInfo(ack=ack)) for seq, ack in zip(seqs, acks, strict=True)]
    moved = desk.write(lambda c: apply_answers(c, answers[::-1], now=desk.now, source=Source.WEBHOOK))
    assert moved == 3
    assert [desk.state(seq) for seq in seqs] == ["read", "sent", "accepted", "delivered"]
    assert desk.events(seqs[0])[-1] == ("accepted", "read", "webhook")
    assert desk.write(lambda c: apply_answers(c, [], now=desk.now, source=Source.INFO)) == 0
