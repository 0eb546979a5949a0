"""The hot questions are answered from their partial indexes, however many messages have been sent before."""

import dataclasses
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from tests.outbox.desk import ALICE, LEASE, NOON, OURS, Desk
from worker.channels import failover, leases, outages, window
from worker.channels.choice import Wish, choose
from worker.channels.leases import Lease
from worker.domain.channel_state import ChannelState
from worker.domain.message_status import MessageState
from worker.domain.webhook_fact import SendFailed, SentSeen
from worker.models import Attempt, Channel, Message, WebhookFact
from worker.outbox import matching, open_fates, redirect, webhook_facts
from worker.outbox.abandoned import channels_left_behind
from worker.outbox.claims import claim_next
from worker.outbox.events import Source
from worker.outbox.expiry import expire_due
from worker.outbox.questions import ask_soon, next_due_at, take_due_checks
from worker.outbox.rates import rates
from worker.outbox.reading import Filters, backlog, get, list_messages, messages_ahead
from worker.outbox.ticks import attempts_by_key

Work = Callable[[Connection], Any]
HORIZON = NOON + timedelta(seconds=5)


def claim(connection: Connection) -> Any:
    return claim_next(connection, range(1, 10), OURS, now=NOON)


def probe(connection: Connection) -> Any:
    return leases.anything_waiting(connection, now=NOON, horizon=HORIZON)


def take(connection: Connection) -> Any:
    lease = Lease(token=OURS, holder="host:1", until=NOON + LEASE)
    return leases.take_waiting(connection, lease, now=NOON, horizon=HORIZON, most=10)


def expire(connection: Connection) -> Any:
    return expire_due(connection, now=NOON, most=100)


def ask(connection: Connection) -> Any:
    return take_due_checks(connection, now=NOON, most=10)


def when_to_ask(connection: Connection) -> Any:
    return next_due_at(connection)


def doubts(connection: Connection) -> Any:
    return open_fates.take_due_doubts(connection, now=NOON, most=10)


def rivals(connection: Connection) -> Any:
    return open_fates.rivals(connection, some_channel(connection), besides=[8], now=NOON)


def judge_soon(connection: Connection) -> Any:
    return open_fates.judge_soon(connection, some_channel(connection), now=NOON)


def swallowed(connection: Connection) -> Any:
    return open_fates.take_swallowed(connection, now=NOON, settle=timedelta(0))


def unticked(connection: Connection) -> Any:
    return open_fates.unticked_too_long(connection, before=NOON)


def out(connection: Connection) -> Any:
    return open_fates.out_too_long(connection, before=NOON)


def called_off(connection: Connection) -> Any:
    return open_fates.call_off(connection, some_channel(connection))


def silence(connection: Connection) -> Any:
    return window.silent_channels(connection, now=NOON + timedelta(hours=1), ack_timeout_s=60)


def ask_all(connection: Connection) -> Any:
    return ask_soon(connection, some_channel(connection), now=NOON)


def wake(connection: Connection) -> Any:
    return leases.needs_wake(connection, some_channel(connection), NOON)


def at_risk(connection: Connection) -> Any:
    channel = connection.execute(select(Channel.__table__).limit(1)).one()
    return outages.moved(connection, channel, ChannelState.DOWN, "need_scan", now=NOON, source=Source.STATUS)


def to_date(connection: Connection) -> Any:
    return outages.take_undated(connection, now=NOON, most=20)


def by_key(connection: Connection) -> Any:
    return attempts_by_key(connection, some_channel(connection), ["key 7", "key 8"])


def sent_of_ours(connection: Connection) -> Any:
    fact = SentSeen(whatsapp_key_id="unknown", recipient="+917033000007", text_digest="", gateway_msg_id=-1)
    return matching.match_sent(connection, some_channel(connection), fact, received_at=NOON)


def failed_of_ours(connection: Connection) -> Any:
    fact = SendFailed(recipient="+917033000007")
    return matching.match_failed(connection, some_channel(connection), fact, received_at=NOON)


def facts(connection: Connection) -> Any:
    return webhook_facts.take_due(connection, NOON, 100)


def wake_facts(connection: Connection) -> Any:
    return webhook_facts.wake_parked(connection, {some_channel(connection): ["key 7"]}, NOON)


def some_channel(connection: Connection) -> int:
    return connection.execute(select(Channel.id).order_by(Channel.id).limit(1)).scalar_one()


def left_behind(connection: Connection) -> Any:
    return channels_left_behind(connection, now=NOON)


def of_recipient(connection: Connection) -> Any:
    return list_messages(connection, Filters(recipient=ALICE), now=NOON)


def unreadable(connection: Connection) -> Any:
    return list_messages(connection, Filters(unreadable="call me"), now=NOON)


def delivery_rates(connection: Connection) -> Any:
    return rates(connection, [some_channel(connection)], now=NOON)


def choice(connection: Connection) -> Any:
    wishes = [Wish(pool="main", recipient=f"+9170330{number:05d}", rank=1) for number in range(490, 520)]
    return choose(connection, wishes, now=NOON, stopped_for=timedelta(0))


def stranded(connection: Connection) -> Any:
    return failover.stranded(connection, now=NOON, after=timedelta(0))


def take_over(connection: Connection) -> Any:
    first = some_channel(connection)
    free = redirect.free_recipients(connection, first, now=NOON, most=5)
    assert redirect.lock_queues(connection, first, free), "nothing was there to be moved"


STATES = [
    *[MessageState.DELIVERED] * 36,
    *[MessageState.QUEUED] * 2,
    MessageState.ACCEPTED,
    MessageState.FAILED,
]


@pytest.fixture
def busy_desk(desk: Desk) -> Desk:
    """Three channels with some thousand messages, most of them history, each with its attempt; and parked facts."""
    channels = [desk.channel(name) for name in ("one", "two", "three")]
    desk.set_channels(suspect_before=NOON - timedelta(hours=1), since=NOON - timedelta(hours=1))
    messages, attempts = [], []
    for number in range(3000):
        state = MessageState.IN_DOUBT if number % 400 == 7 else STATES[number % 40]
        asked = {MessageState.ACCEPTED, MessageState.IN_DOUBT}
        messages.append(
            {
                "seq": number + 1,
                "id": UUID(int=number),
                "channel_id": channels[number % 3],
                "state": state,
                "priority": number // 40 % 2,
                "to": ALICE,
                "recipient": f"+9170330{number % 500:05d}",
                "kind": "text",
                "content": {"text": "Hello"},
                "due_at": NOON - timedelta(seconds=number),
                "expires_at": NOON + timedelta(seconds=number) if number % 2 else None,
                "on_doubt": "hold",
                "fingerprint": "",
                "attempts": 1,
                "checks": 0,
                "claimed_at": NOON - timedelta(seconds=number),
                "accepted_at": NOON - timedelta(seconds=number),
                "next_check_at": NOON + timedelta(seconds=number - 900) if state in asked else None,
                "created_at": NOON,
            }
        )
        attempts.append(
            {
                "message_seq": number + 1,
                "number": 1,
                "finished_at": NOON - timedelta(seconds=number),
                "outcome": "accepted",
                "cause": "accepted",
                "gateway_msg_id": number,
                "whatsapp_key_id": f"key {number}",
                "detail": "",
                "worker": "",
            }
        )
    parked = [
        {
            "channel_id": channels[number % 3],
            "received_at": NOON,
            "kind": "tick",
            "whatsapp_key_id": f"key {number}",
            "said": {},
            "next_try_at": NOON + timedelta(seconds=number),
        }
        for number in range(2000)
    ]
    desk.write(lambda c: c.execute(insert(Message), messages))
    desk.write(lambda c: c.execute(insert(Attempt), attempts))
    desk.write(lambda c: c.execute(insert(WebhookFact), parked))
    if desk.engine.dialect.name == "postgresql":
        desk.write(lambda c: c.execute(text("ANALYZE")))
    return desk


def plans(desk: Desk, work: Work, *, small_table: bool = False) -> str:
    """How the database answers the statements of `work`; nothing of them is kept.

    To count a good part of so small a table PostgreSQL may well read all of it. With `small_table` it only does so
    where no index can answer.
    """
    explain = "EXPLAIN QUERY PLAN " if desk.engine.dialect.name == "sqlite" else "EXPLAIN "
    seen: list[tuple[str, Any]] = []
    with desk.engine.connect() as connection:
        if small_table and desk.engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        event.listen(connection, "before_cursor_execute", lambda *said: seen.append((said[2], said[3])))
        work(connection)
        told = [
            str(row[-1])
            for statement, parameters in list(seen)
            if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "INSERT INTO outage_messages"))
            for row in connection.exec_driver_sql(explain + statement, parameters)
        ]
        connection.rollback()
    return "\n".join(told)


#: What answers each question; whoever asks for more than one index asks more than one question.
INDEXES_OF: dict[Work, set[str]] = {
    claim: {"ix_messages_queued", "ix_messages_open", "ix_messages_refused"},
    probe: {"ix_messages_queued", "ix_messages_open", "ix_messages_refused"},
    take: {"ix_messages_queued", "ix_messages_open", "ix_messages_refused"},
    wake: {"ix_messages_open"},
    expire: {"ix_messages_expiring"},
    ask: {"ix_messages_to_check"},
    when_to_ask: {"ix_messages_to_check"},
    ask_all: {"ix_messages_open"},
    doubts: {"ix_messages_doubts"},
    rivals: {"ix_messages_open", "ix_messages_attention"},
    judge_soon: {"ix_messages_open"},
    swallowed: {"ix_messages_open"},
    unticked: {"ix_messages_open"},
    out: {"ix_messages_open"},
    called_off: {"ix_messages_attention"},
    silence: {"ix_messages_open"},
    at_risk: {"ix_messages_open"},
    by_key: {"ix_attempts_whatsapp_key_id"},
    sent_of_ours: {"ix_attempts_gateway_msg_id", "ix_attempts_whatsapp_key_id", "ix_messages_recipient"},
    failed_of_ours: {"ix_messages_"},
    facts: {"ix_webhook_facts_next_try_at"},
    wake_facts: {"ix_webhook_facts_whatsapp_key_id"},
    left_behind: {"ix_messages_sending"},
    of_recipient: {"ix_messages_recipient"},
    unreadable: {"ix_messages_recipient"},
}
#: Reading a whole table, under the names that tables have in these questions.
SCAN = re.compile(
    r"Seq Scan on (messages|attempts|webhook_facts)|SCAN (messages|attempts|webhook_facts|waiting|"
    r"earlier|pending|later|refused)\w*(?! USING)"
)


def test_each_hot_question_is_answered_from_its_partial_index(busy_desk: Desk) -> None:
    for work, indexes in INDEXES_OF.items():
        plan = plans(busy_desk, work)
        for index in indexes:
            assert index in plan, (work.__name__, plan)
        assert not SCAN.search(plan), (work.__name__, plan)


def test_the_next_message_of_a_channel_is_found_without_sorting_its_queue(busy_desk: Desk) -> None:
    busy_desk.lease()
    plan = plans(busy_desk, claim)
    assert "ix_messages_queued" in plan
    # But for the few that were refused, which stand in an index of their own.
    assert plan.count("TEMP B-TREE") == plan.count("SEARCH refused_head USING INDEX ix_messages_refused")
    assert "Sort Key: waiting" not in plan


def test_the_backlog_is_counted_in_the_partial_indexes_alone(busy_desk: Desk) -> None:
    plan = plans(busy_desk, backlog, small_table=True)
    for index in ("ix_messages_queued", "ix_messages_open", "ix_messages_attention"):
        assert index in plan, plan
    assert not SCAN.search(plan), plan


def of_idle_channel(connection: Connection) -> Any:
    assert list_messages(connection, Filters(channel="idle"), now=NOON)


def failed(connection: Connection) -> Any:
    assert list_messages(connection, Filters(status="failed"), now=NOON)


def of_a_time(connection: Connection) -> Any:
    filters = Filters(created_after=NOON - timedelta(days=2), created_before=NOON - timedelta(days=1))
    assert list_messages(connection, filters, now=NOON)


def test_lists_of_what_is_rare_walk_to_it_and_not_through_everything_that_came_later(busy_desk: Desk) -> None:
    idle = busy_desk.channel("idle")
    busy_desk.write(lambda c: c.execute(update(Message).where(Message.seq < 6).values(channel_id=idle)))
    early = update(Message).where(Message.seq < 50).values(created_at=NOON - timedelta(days=1, hours=12))
    busy_desk.write(lambda c: c.execute(early))
    if busy_desk.engine.dialect.name == "postgresql":
        busy_desk.write(lambda c: c.execute(text("ANALYZE")))
    assert "ix_messages_of_channel" in plans(busy_desk, of_idle_channel, small_table=True)
    assert "ix_messages_ended" in plans(busy_desk, failed, small_table=True)
    for work in (of_idle_channel, failed):
        plan = plans(busy_desk, work, small_table=True)
        assert not SCAN.search(plan), plan
    plan = plans(busy_desk, of_a_time, small_table=True)
    assert re.search(r"rowid>\? AND rowid<\?|seq >= .* AND \(seq < ", plan), plan


def backlog_of_one(connection: Connection) -> Any:
    return backlog(connection, [some_channel(connection)])


@pytest.mark.parametrize("work", [backlog, backlog_of_one])
def test_what_is_queued_is_counted_without_reading_a_message(busy_desk: Desk, work: Work) -> None:
    on_postgres = busy_desk.engine.dialect.name == "postgresql"
    if on_postgres:
        with busy_desk.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CHECKPOINT"))  # only what is flushed can be marked as visible to all
            connection.execute(text("VACUUM messages"))
    plan = plans(busy_desk, work, small_table=True)
    assert ("Index Only Scan using ix_messages_queued" if on_postgres else "USING INDEX ix_messages_queued") in plan


def ahead(connection: Connection) -> Any:
    last = Message.state == "queued"
    row = connection.execute(select(Message.id, Message.channel_id).where(last).order_by(Message.seq.desc())).first()
    assert row is not None
    message = dataclasses.replace(get(connection, row.id, NOON), priority="bulk")
    return messages_ahead(connection, message, row.channel_id, NOON)


def test_who_goes_out_before_a_message_is_counted_in_bounded_stretches_of_the_queue(busy_desk: Desk) -> None:
    plan = plans(busy_desk, ahead, small_table=True)
    assert plan.count("ix_messages_queued") >= 3, plan
    # Each stretch ends where the message stands by the index itself, so nothing is looked up row by row.
    if busy_desk.engine.dialect.name == "sqlite":
        assert "(channel_id=? AND priority=? AND due_at<?)" in plan, plan
        assert "(channel_id=? AND priority=? AND due_at=? AND seq<?)" in plan, plan
    else:
        stretches = re.findall(r"Index Cond: .*priority = .*", plan)
        assert len(stretches) == 3, plan
        assert sum("due_at < " in stretch for stretch in stretches) == 1, plan
        assert sum("due_at = " in stretch and "seq < " in stretch for stretch in stretches) == 1, plan


def test_delivery_rates_are_read_from_their_indexes_however_long_the_history_is(busy_desk: Desk) -> None:
    plan = plans(busy_desk, delivery_rates, small_table=True)
    for index in ("ix_messages_accepted", "ix_events_failed"):
        assert index in plan, plan
    assert not SCAN.search(plan), plan


def test_outages_that_are_dated_already_are_not_read_again(busy_desk: Desk) -> None:
    assert "ix_outages_to_date" in plans(busy_desk, to_date, small_table=True)


def test_a_pool_shares_its_messages_out_without_reading_its_queues(busy_desk: Desk) -> None:
    busy_desk.set_channels(pool="main")
    plan = plans(busy_desk, choice, small_table=True)
    for index in ("ix_messages_recipient", "ix_messages_queued"):
        assert index in plan, plan
    assert not SCAN.search(plan), plan


def test_failover_looks_at_what_may_move_however_much_is_parked(busy_desk: Desk) -> None:
    busy_desk.set_channels(pool="main")
    first = busy_desk.read(select(Channel.id).order_by(Channel.id))[0].id
    busy_desk.set_channel(first, state=ChannelState.DOWN)
    assert busy_desk.write(stranded) == []
    assert "ix_messages_failover" in plans(busy_desk, stranded)

    lonely = update(Message).where(Message.channel_id == first, Message.seq > 2900, Message.state == "queued")
    busy_desk.write(lambda c: c.execute(lonely.values(failover=True, attempts=0, recipient="+917033099999")))

    for work in (stranded, take_over):
        plan = plans(busy_desk, work, small_table=True)
        assert "ix_messages_failover" in plan, plan
        assert not SCAN.search(plan), plan
