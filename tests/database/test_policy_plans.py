"""What sending policies ask is answered from indexes, however many messages have been sent before."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.database.test_query_plans import SCAN, busy_desk, plans, some_channel
from tests.outbox.desk import NOON, Desk
from worker.domain.quiet_hours import QuietHours
from worker.models import Message
from worker.outbox import first_contacts, holding, suppressions
from worker.outbox.events import Source

__all__ = ["busy_desk"]

SOMEBODY = "+917033000007"


def hold(connection: Connection) -> Any:
    row = Message(seq=3, channel_id=some_channel(connection), priority=1, quiet_zone=None)
    return holding._hold_quiet(connection, row, NOON, NOON)


def sift(connection: Connection) -> Any:
    return holding.sift(connection, [3, 5], quiet_hours=QuietHours.parse("21:00-09:00"), now=NOON)


def strangers(connection: Connection) -> Any:
    return first_contacts.known_to(connection, {(some_channel(connection), SOMEBODY)})


def opted_out(connection: Connection) -> Any:
    channels = suppressions.channels_waiting(connection, SOMEBODY)
    return suppressions.fail_queued(connection, SOMEBODY, channels or [1], now=NOON, source=Source.WEBHOOK)


def known_as(connection: Connection) -> Any:
    return suppressions.written_to_at(connection, {"917033000007@s.whatsapp.net", "55512345678@lid"})


def returned(connection: Connection) -> Any:
    return suppressions.fail_returned(connection, [3, 5], now=NOON)


@pytest.mark.parametrize(
    ("work", "index"),
    [
        (hold, "ix_messages_queued"),
        (sift, "messages"),
        (strangers, "ix_messages_recipient"),
        (opted_out, "ix_messages_"),
        (known_as, "ix_messages_whatsapp_jid"),
        (returned, "messages"),
    ],
)
def test_no_policy_reads_the_whole_of_the_messages(
    busy_desk: Desk, work: Callable[[Connection], Any], index: str
) -> None:
    plan = plans(busy_desk, work, small_table=True)
    assert index in plan, plan
    assert not SCAN.search(plan), plan
