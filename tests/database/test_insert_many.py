"""Many rows in one statement come out as few rows in many: same values, same order, each once."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import MANY_ROWS, insert_many, open_engine, snapshot, transaction
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace
from worker.models import Message

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
MESSAGES = Message.metadata.tables["messages"]


def row(number: int, channel_id: int, **more: Any) -> dict[str, Any]:
    return {
        "id": UUID(int=number),
        "channel_id": channel_id,
        "state": MessageState.QUEUED,
        "priority": 1,
        "to": f'"{number}" \\ नमस्ते 😀 \t\n',
        "recipient": None if number % 2 else f"+9170330{number:05d}",
        "kind": "text",
        "content": {"text": 'O\'Neil \u2028 {"a": 1}', "deep": [{"é": [1, 2.5, None, True]}]},
        "due_at": NOON + timedelta(microseconds=number),
        "on_doubt": "hold",
        "fingerprint": "f",
        "metadata": {"number": number} if number % 3 else None,
        "idempotency_key": f"key-{number}",
        "attempts": 0,
        "checks": 0,
        "created_at": NOON,
    } | more


@pytest.mark.parametrize("how_many", [2, MANY_ROWS - 1, MANY_ROWS, 3 * MANY_ROWS])
def test_what_goes_in_comes_out_in_its_order(database_url: str, how_many: int) -> None:
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        channel_id = registry.add(connection, NewChannel(name="sales", pace=Pace(1, 5)), NOON)
        rows = [row(number, channel_id) for number in range(how_many)]
        made = insert_many(connection, MESSAGES, rows, returning=("seq", "id"))

    with snapshot(engine) as connection:
        stored = connection.execute(select(MESSAGES).order_by(MESSAGES.c.seq)).all()
    assert [one.seq for one in made] == [one.seq for one in stored]
    assert [one.id for one in made] == [one["id"] for one in rows]
    for given, kept in zip(rows, stored, strict=True):
        assert {name: kept._mapping[name] for name in given} == given
        assert (kept.doubts, kept.resends, kept.first_contact, kept.sent_at) == (0, 0, False, None)
    engine.dispose()


@pytest.mark.parametrize("how_many", [2, 2 * MANY_ROWS])
def test_those_that_are_there_are_left_alone(database_url: str, how_many: int) -> None:
    engine = open_engine(database_url)
    with transaction(engine) as connection:
        channel_id = registry.add(connection, NewChannel(name="sales", pace=Pace(1, 5)), NOON)
        first = insert_many(connection, MESSAGES, [row(1, channel_id)], returning=("seq",))
        again = [row(1, channel_id, id=uuid4(), to="other"), *(row(n, channel_id) for n in range(2, how_many + 1))]
        made = insert_many(connection, MESSAGES, again, returning=("id",))

    assert len(first) == 1
    assert {one.id for one in made} == {UUID(int=number) for number in range(2, how_many + 1)}
    with snapshot(engine) as connection:
        assert connection.execute(select(func.count()).select_from(MESSAGES)).scalar_one() == how_many
        assert connection.execute(
            select(MESSAGES.c.to).where(MESSAGES.c.idempotency_key == "key-1")
        ).scalar_one() != ("other")
    engine.dispose()
