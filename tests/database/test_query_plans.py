"""The hot questions are answered from their partial indexes, however many messages have been sent before."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, insert, text

from tests.outbox.desk import ALICE, LEASE, NOON, OURS, Desk
from worker.channels import leases
from worker.channels.leases import Lease
from worker.domain.message_status import MessageState
from worker.models import Message
from worker.outbox.abandoned import channels_left_behind
from worker.outbox.claims import claim_next
from worker.outbox.expiry import expire_due
from worker.outbox.reading import Filters, backlog, list_messages
from worker.outbox.ticks import take_due_checks

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
    return take_due_checks(connection, now=NOON, most=100)


def left_behind(connection: Connection) -> Any:
    return channels_left_behind(connection, now=NOON)


def of_recipient(connection: Connection) -> Any:
    return list_messages(connection, Filters(recipient=ALICE), now=NOON)


def unreadable(connection: Connection) -> Any:
    return list_messages(connection, Filters(unreadable="call me"), now=NOON)


@pytest.fixture
def busy_desk(desk: Desk) -> Desk:
    """Three channels with some thousand messages, most of them history."""
    channels = [desk.channel(name) for name in ("one", "two", "three")]
    states = [*[MessageState.DELIVERED] * 17, MessageState.QUEUED, MessageState.ACCEPTED, MessageState.FAILED]
    rows = [
        {
            "id": UUID(int=number),
            "channel_id": channels[number % 3],
            "state": states[number % 20],
            "priority": number // 20 % 2,
            "to": ALICE,
            "recipient": f"+9170330{number % 500:05d}",
            "kind": "text",
            "content": {"text": "Hello"},
            "due_at": NOON - timedelta(seconds=number),
            "expires_at": NOON + timedelta(seconds=number) if number % 2 else None,
            "on_doubt": "hold",
            "fingerprint": "",
            "attempts": 0,
            "checks": 0,
            "next_check_at": NOON + timedelta(seconds=number) if states[number % 20] == "accepted" else None,
            "created_at": NOON,
        }
        for number in range(3000)
    ]
    desk.write(lambda c: c.execute(insert(Message), rows))
    if desk.engine.dialect.name == "postgresql":
        desk.write(lambda c: c.execute(text("ANALYZE")))
    return desk


def plans(desk: Desk, work: Work) -> str:
    """How the database answers the statements of `work`; nothing of them is kept."""
    explain = "EXPLAIN QUERY PLAN " if desk.engine.dialect.name == "sqlite" else "EXPLAIN "
    seen: list[tuple[str, Any]] = []
    with desk.engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *said: seen.append((said[2], said[3])))
        work(connection)
        told = [
            str(row[-1])
            for statement, parameters in list(seen)
            if statement.lstrip().startswith(("SELECT", "UPDATE"))
            for row in connection.exec_driver_sql(explain + statement, parameters)
        ]
        connection.rollback()
    return "\n".join(told)


INDEX_OF = {
    claim: "ix_messages_queued",
    probe: "ix_messages_queued",
    take: "ix_messages_queued",
    expire: "ix_messages_expiring",
    ask: "ix_messages_to_check",
    left_behind: "ix_messages_sending",
    of_recipient: "ix_messages_recipient",
    unreadable: "ix_messages_recipient",
}


def test_each_hot_question_is_answered_from_its_partial_index(busy_desk: Desk) -> None:
    for work, index in INDEX_OF.items():
        if work is claim:
            busy_desk.lease()
        plan = plans(busy_desk, work)
        assert index in plan, (work.__name__, plan)
        for scan in ("Seq Scan on messages", "SCAN messages\n", "SCAN messages_1\n", "SCAN messages_2\n"):
            assert scan not in plan + "\n", (work.__name__, plan)
        if work is claim:
            assert "TEMP B-TREE" not in plan, "the next message is found without sorting"
            assert "Sort" not in plan
            busy_desk.set_channels(lease_token=None, lease_expires_at=None, lease_holder=None)


def test_the_backlog_is_counted_in_the_partial_indexes_alone(busy_desk: Desk) -> None:
    plan = plans(busy_desk, backlog)
    for index in ("ix_messages_queued", "ix_messages_sending", "ix_messages_unresolved"):
        assert index in plan, plan
    assert "Seq Scan on messages" not in plan
    assert "SCAN messages\n" not in plan + "\n"
