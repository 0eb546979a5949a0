"""Messages read back: one, many, with what happened to them and who goes before them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from tests.outbox.desk import ALICE, BOB, CAROL, Desk
from worker.domain.errors import InvalidRequest, NotFound
from worker.domain.evidence import Ack
from worker.domain.message_status import PENDING_STATES, PUBLIC_STATUS, MessageState
from worker.domain.outcomes import Cause
from worker.models import Message
from worker.outbox import reading
from worker.outbox.enqueue import enqueue_unreadable
from worker.outbox.events import Source
from worker.outbox.reading import Filters, MessageView


def view(desk: Desk, seq: int) -> MessageView:
    found: MessageView = desk.write(lambda c: reading.get(c, desk.message(seq).id, desk.now))
    return found


def listed(desk: Desk, limit: int = 50, **filters: object) -> list[int]:
    rows = desk.write(lambda c: reading.list_messages(c, Filters(**filters), now=desk.now, limit=limit))
    return [row.seq for row in rows]


def test_a_message_in_json_has_what_a_crm_relies_on(desk: Desk) -> None:
    channel_id = desk.channel("sales")
    seq = desk.enqueue(channel_id, " 070330-09600", crm_ref="lead-7", metadata={"a": [1]}, priority="bulk")
    waiting = view(desk, seq).as_json()
    assert UUID(waiting["id"])
    expected = {"status": "pending", "state": "queued", "pending_reason": "paced", "to": " 070330-09600"}
    expected |= {"recipient": ALICE, "channel": "sales", "attempts": 0, "gateway_msg_id": None, "error": None}
    expected |= {"created_at": "2026-11-22T12:00:00Z", "sent_at": None, "delivered_at": None, "read_at": None}
    expected |= {"crm_ref": "lead-7", "metadata": {"a": [1]}, "priority": "bulk"}
    assert {name: waiting[name] for name in expected} == expected
    assert "content" not in waiting

    desk.finish(desk.leased_claim(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    assert view(desk, seq).as_json()["pending_reason"] == "awaiting_tick"
    desk.wait(2.5)
    desk.tick(seq, Ack.DEVICE)
    told = view(desk, seq).as_json()
    assert (told["status"], told["pending_reason"], told["gateway_msg_id"]) == ("delivered", None, 7)
    assert told["sent_at"] == told["delivered_at"] == "2026-11-22T12:00:02.500000Z"


def test_a_failed_message_tells_its_error(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.finish(desk.leased_claim(channel_id), Cause.NOT_ON_WHATSAPP)
    error = view(desk, seq).as_json()["error"]
    assert error["code"] == "not_on_whatsapp"
    assert "not on WhatsApp" in error["message"]


def test_an_unknown_id_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.write(lambda c: reading.get(c, uuid4(), desk.now))


def test_a_list_is_filtered_newest_first_and_goes_on_where_it_ended(desk: Desk) -> None:
    sales, support = desk.channel("sales"), desk.channel("support")
    seqs = [desk.enqueue(sales, ALICE), desk.enqueue(sales, BOB, crm_ref="x"), desk.enqueue(support, ALICE)]
    desk.lease()
    desk.finish(desk.claim_one(support), Cause.REFUSED)
    assert listed(desk) == seqs[::-1]
    assert listed(desk, limit=2) == seqs[:0:-1]
    assert listed(desk, before_seq=seqs[1]) == [seqs[0]]
    assert listed(desk, channel="sales") == [seqs[1], seqs[0]]
    assert listed(desk, recipient=ALICE) == [seqs[2], seqs[0]]
    assert listed(desk, unreadable=ALICE) == []
    assert listed(desk, crm_ref="x") == [seqs[1]]
    assert listed(desk, status="failed") == [seqs[2]]
    assert listed(desk, status="pending") == [seqs[1], seqs[0]]
    assert listed(desk, status="nonsense") == []


def test_a_list_of_a_time_finds_what_was_stored_then_also_where_it_was_stored_a_little_out_of_order(
    desk: Desk,
) -> None:
    channel_id, began, seqs = desk.channel(), desk.now, []
    for number in range(40):
        desk.wait(1800)
        seqs.append(desk.enqueue(channel_id, f"+9170330{number:05d}"))
    late = desk.enqueue(channel_id, BOB)
    at = {number: began + timedelta(seconds=1800 * (number + 1)) for number in range(40)}
    desk.write(lambda c: c.execute(update(Message).where(Message.seq == late).values(created_at=at[39])))
    desk.write(lambda c: c.execute(update(Message).where(Message.seq == seqs[20]).values(created_at=at[19])))

    assert listed(desk, created_after=at[39]) == [late, seqs[39]]
    assert listed(desk, created_before=at[2]) == [seqs[1], seqs[0]]
    assert listed(desk, created_after=at[19], created_before=at[20]) == [seqs[20], seqs[19]]
    assert listed(desk, created_after=at[10], created_before=at[13]) == seqs[12:9:-1]
    assert listed(desk, created_after=at[39] + timedelta(hours=3)) == []
    assert listed(desk, created_before=began) == []
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert len(listed(desk, created_after=first, created_before=last)) == 41


def test_every_public_and_stored_status_names_its_states() -> None:
    for state in MessageState:
        assert state in reading.states_of(state.value)
        assert state in reading.states_of(PUBLIC_STATUS[state])
    assert reading.states_of("sent") == [MessageState.SENT]


def test_the_messages_ahead_are_those_that_go_out_first(desk: Desk) -> None:
    channel_id = desk.channel()
    seqs = [
        desk.enqueue(channel_id, ALICE, priority="bulk"),
        desk.enqueue(channel_id, BOB, priority="bulk"),
        desk.enqueue(channel_id, CAROL),
        desk.enqueue(channel_id, ALICE, send_after=(desk.now + timedelta(hours=1)).isoformat()),
    ]
    views = [view(desk, seq) for seq in seqs[:3]]
    ahead = [desk.write(lambda c, it=it: reading.messages_ahead(c, it, channel_id, desk.now)) for it in views]
    assert ahead == [1, 2, 0]


def test_the_messages_ahead_are_counted_in_the_order_of_time_and_arrival_up_to_a_bound(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_id = desk.channel()
    seqs = []
    for number in range(12):
        desk.wait(number % 3 == 0)
        priority = "bulk" if number % 4 else "transactional"
        seqs.append(desk.enqueue(channel_id, f"+9170330{number:05d}", priority=priority))
    rows = [desk.message(seq) for seq in seqs]
    order = [row.seq for row in sorted(rows, key=lambda row: (row.priority, row.due_at, row.seq))]

    def ahead(seq: int, now: datetime, **since: datetime) -> int:
        it = view(desk, seq)
        count: int = desk.write(lambda c: reading.messages_ahead(c, it, channel_id, now, **since))
        return count

    assert [ahead(seq, desk.now) for seq in order] == list(range(12))
    early = desk.now - timedelta(seconds=2)
    due = [row.seq for row in rows if row.due_at <= early]
    assert [ahead(seq, early) for seq in order if seq in due] == list(range(len(due)))
    assert ahead(order[-1], desk.now, since=desk.now) == sum(row.due_at == desk.now for row in rows) - 1
    monkeypatch.setattr(reading, "MOST_COUNTED", 4)
    assert [ahead(seq, desk.now) for seq in order] == [0, 1, 2, 3, *[4] * 8]


def test_the_backlog_of_one_channel_is_that_of_all_for_that_channel(desk: Desk) -> None:
    one, other = desk.channel("one"), desk.channel("other")
    desk.hold(desk.accepted(one, BOB))
    for channel_id in (one, other, other):
        desk.enqueue(channel_id, ALICE)
    everything = desk.write(reading.backlog)
    assert everything[one] == {MessageState.QUEUED: 1, MessageState.ACCEPTED: 1}
    assert desk.write(lambda c: reading.backlog(c, [one])) == {one: everything[one]}
    assert desk.write(lambda c: reading.backlog(c, [other])) == {other: {MessageState.QUEUED: 2}}
    assert desk.write(lambda c: reading.attention_counts(c, [one])) == {one: 1}
    assert desk.write(lambda c: reading.attention_counts(c, [other])) == {}


def test_the_story_of_a_message_is_told_in_order(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.lease()
    desk.finish(desk.claim_one(channel_id), Cause.UNREACHABLE)
    desk.wait(1)
    desk.finish(desk.claim_one(channel_id), Cause.TIMEOUT)
    desk.requeue(seq)
    desk.wait(1)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    events = desk.write(lambda c: reading.event_log(c, seq).newest)
    moves = ["queued", "sending", "queued", "sending", "in_doubt", "queued", "sending", "accepted"]
    assert [event["after"] for event in events] == moves
    assert events[-1]["evidence"] == {"attempt": 2, "gateway_msg_id": 7}
    attempts = desk.write(lambda c: reading.attempt_log(c, seq).newest)
    assert [attempt["cause"] for attempt in attempts] == ["timeout", "accepted"]
    assert attempts[-1]["started_at"] == "2026-11-22T12:00:02Z"


def test_a_message_that_could_not_be_read_is_found_as_it_was_written(desk: Desk) -> None:
    channel_id = desk.channel()
    kept = desk.write(
        lambda c: enqueue_unreadable(
            c,
            {"to": "call me"},
            InvalidRequest("no"),
            channel_id=channel_id,
            message_id=uuid4(),
            now=desk.now,
            source=Source.API,
        )
    )
    found = desk.write(lambda c: reading.list_messages(c, Filters(unreadable="call me"), now=desk.now))
    assert [message.id for message in found] == [kept.message_id]


def test_of_a_long_story_the_newest_part_and_the_beginning_are_read(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.lease()
    for _ in range(6):
        desk.finish(desk.claim_one(channel_id), Cause.TIMEOUT)
        desk.requeue(seq)
        desk.wait(1)
    attempts = desk.write(lambda c: reading.attempt_log(c, seq, newest=3))
    assert [attempt["number"] for attempt in attempts.newest] == [4, 5, 6]
    assert (attempts.first["number"], attempts.total) == (1, 6)
    events = desk.write(lambda c: reading.event_log(c, seq, newest=2))
    assert [event["after"] for event in events.newest] == ["in_doubt", "queued"]
    assert (events.first["before"], events.first["after"], events.total) == (None, "queued", 19)
    none = desk.write(lambda c: reading.attempt_log(c, seq + 1))
    assert (none.first, none.newest, none.total) == (None, [], 0)


def test_the_backlog_counts_each_pending_state_of_each_channel(desk: Desk) -> None:
    busy, idle = desk.channel("busy"), desk.channel("idle")
    desk.accepted(busy, ALICE)
    desk.enqueue(busy, BOB)
    desk.finish(desk.claim_one(busy), Cause.TIMEOUT)
    desk.enqueue(busy, CAROL)
    desk.claim_one(busy)
    desk.enqueue(busy, ALICE)
    desk.enqueue(idle, ALICE)
    counted = desk.write(reading.backlog)
    assert counted == {busy: dict.fromkeys(PENDING_STATES, 1), idle: {MessageState.QUEUED: 1}}
