"""A CRM hands over messages for a pool, by name or by rule, and each finds its channel."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from tests.outbox.desk import ALICE, BOB
from wasender_sandbox.control import Sandbox
from worker import intake
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import snapshot, transaction
from worker.domain.errors import InvalidRequest, NotFound, TruetickError
from worker.domain.message_request import parse_request
from worker.domain.pace import Pace
from worker.models import Channel, Message
from worker.outbox.enqueue import Enqueued
from worker.outbox.events import Source
from worker.parts import Parts


@pytest.fixture
def parts(parts: Parts) -> Parts:
    with transaction(parts.engine) as connection:
        for name, pool in {"north": "main", "south": "main", "alone": None}.items():
            registry.add(connection, NewChannel(name=name, pace=Pace(1, 5), pool=pool), parts.clock())
    return parts


def send_all(parts: Parts, *requests: dict[str, Any]) -> list[Enqueued | TruetickError]:
    with transaction(parts.engine) as connection:
        asked = [(parse_request({"text": "Hello"} | request), uuid4()) for request in requests]
        return intake.send_requests(parts, connection, asked, now=parts.clock(), source=Source.API)


def channels_of(parts: Parts, *answers: Enqueued | TruetickError) -> list[str]:
    with snapshot(parts.engine) as connection:
        names = {row.id: row.name for row in connection.execute(select(Channel.id, Channel.name))}
    return [names[answer.channel_id] if isinstance(answer, Enqueued) else answer.code for answer in answers]


def test_a_request_names_a_channel_or_a_pool_or_neither(parts: Parts) -> None:
    answers = send_all(
        parts,
        {"to": ALICE, "channel": "alone"},
        {"to": ALICE, "pool": "main"},
        {"to": ALICE},
        {"to": BOB, "pool": "x"},
    )
    names = channels_of(parts, *answers)
    assert (names[0], names[2], names[3]) == ("alone", "default", "unknown_pool")
    assert names[1] in {"north", "south"}
    assert isinstance(answers[3], NotFound)


def test_both_together_are_refused(parts: Parts) -> None:
    for channel in ("north", "default"):
        with pytest.raises(InvalidRequest, match="name a channel or a pool, not both"):
            send_all(parts, {"to": ALICE, "channel": channel, "pool": "main"})


def test_what_names_neither_goes_to_the_default_pool(
    parts: Parts, build: Callable[..., Parts], database_url: str
) -> None:
    ruled = build(database_url, TRUETICK_DEFAULT_POOL="main")
    answers = send_all(ruled, {"to": ALICE}, {"to": ALICE, "channel": "default"}, {"to": ALICE, "channel": "alone"})
    names = channels_of(parts, *answers)
    assert names[0] in {"north", "south"}
    assert names[1:] == ["default", "alone"]


def test_a_recipient_is_known_however_the_number_is_written(parts: Parts) -> None:
    spellings = ["7033009600", "+91 70330-09600", "0091 7033009600", "917033009600"]
    (first,) = channels_of(parts, *send_all(parts, {"to": spellings[0], "pool": "main"}))
    later = channels_of(parts, *send_all(parts, *({"to": one, "pool": "main"} for one in spellings)))
    assert later == [first] * 4


def test_a_repeated_request_is_the_same_message_whatever_is_chosen_by_then(parts: Parts) -> None:
    request = {"to": ALICE, "pool": "main", "idempotency_key": "order 7"}
    (first,) = send_all(parts, request)
    send_all(parts, *({"to": f"+9170330{index:05d}", "pool": "main"} for index in range(5)))
    assert isinstance(first, Enqueued)
    with transaction(parts.engine) as connection:
        connection.execute(update(Channel).where(Channel.id == first.channel_id).values(pool="left"))
    (again,) = send_all(parts, request)
    assert isinstance(again, Enqueued)
    assert (again.message_id, again.channel_id, again.created) == (first.message_id, first.channel_id, False)


def test_a_bad_number_is_told_although_a_pool_was_named(parts: Parts) -> None:
    (answer,) = send_all(parts, {"to": "12", "pool": "main"})
    assert isinstance(answer, TruetickError)
    assert answer.code == "too_short"


def test_failover_is_allowed_by_the_request_alone(parts: Parts) -> None:
    send_all(parts, {"to": ALICE, "pool": "main", "failover": True}, {"to": ALICE, "pool": "main"})
    with snapshot(parts.engine) as connection:
        kept = connection.execute(select(Message.failover).order_by(Message.seq)).scalars().all()
    assert kept == [True, False]


def test_a_task_with_an_unknown_pool_is_kept_as_failed_with_its_reason(parts: Parts, sandbox: Sandbox) -> None:
    stored = intake.take_in(parts, {"to": ALICE, "text": "Hi", "pool": "nowhere"}, task_id=str(uuid4()))
    with snapshot(parts.engine) as connection:
        row = connection.execute(select(Message.__table__).where(Message.id == stored.message_id)).one()
    assert (row.state, row.error_code) == ("failed", "unknown_pool")
    assert "set-pool NAME nowhere" in row.error_message
    assert sandbox.requests() == []
