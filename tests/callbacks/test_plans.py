"""What is asked every two seconds is answered from partial indexes, however much was told before."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from tests.callbacks.office import Office
from tests.database.test_query_plans import plans
from worker.callbacks import endpoints, parked, waiting
from worker.models import Callback, Event


@pytest.fixture
def busy_office(office: Office) -> Office:
    """An endpoint that has been told thousands of changes, with some waiting and some parked."""
    office.add("https://crm.example.com/hook")
    office.many_changes(300)
    office.look()
    office.parts.stopping.set()
    assert office.teller.until_idle(20)
    now, endpoint_id = office.desk.now, office.endpoint().id
    rows = [
        {
            "endpoint_id": endpoint_id,
            "message_seq": number % 300 + 1,
            "feed_no": 100_000 + number,
            "status": "sent",
            "at": now,
            "state": "waiting" if number % 100 == 7 else "parked" if number % 100 == 8 else "delivered",
            "due_at": now + timedelta(seconds=number - 2000),
            "give_up_at": now + timedelta(days=1),
            "tries": 0,
            "delivered_at": now - timedelta(hours=number % 100),
        }
        for number in range(5000)
    ]
    changes = [
        {
            "message_seq": row["message_seq"],
            "channel_id": office.channel,
            "at": now,
            "source": "info",
            "before": "accepted",
            "after": "sent",
            "reason": "",
            "status": "sent",
            "feed_no": row["feed_no"],
        }
        for row in rows
    ]
    office.desk.write(lambda c: c.execute(insert(Callback), rows))
    office.desk.write(lambda c: c.execute(insert(Event), changes))
    if office.desk.engine.dialect.name == "postgresql":
        office.desk.write(lambda c: c.execute(text("ANALYZE")))
    return office


def test_what_is_due_is_found_in_the_partial_indexes(busy_office: Office) -> None:
    now, endpoint_id = busy_office.desk.now, busy_office.endpoint().id

    def heads(connection: Connection) -> Any:
        return waiting.take_heads(connection, endpoint_id, now=now, most=8)

    def with_work(connection: Connection) -> Any:
        return endpoints.with_work(connection, now)

    def overdue(connection: Connection) -> Any:
        return parked.park_overdue(connection, endpoint_id, now)

    def forget(connection: Connection) -> Any:
        return parked.anything_to_forget(connection, now)

    for work, indexes in {
        heads: {"ix_callbacks_due", "ix_callbacks_open", "uq_events_feed_no"},
        with_work: {"ix_callbacks_due"},
        overdue: {"ix_callbacks_due"},
        forget: {"ix_callbacks_delivered"},
    }.items():
        plan = plans(busy_office.desk, work)
        for index in indexes:
            assert index in plan, (work.__name__, plan)
        assert "Seq Scan on callbacks" not in plan, (work.__name__, plan)
        assert "Seq Scan on events" not in plan, (work.__name__, plan)
