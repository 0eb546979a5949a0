"""Enqueueing many at a time: each gets the answer that it would get alone, and nothing is stored twice."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from tests.outbox.desk import ALICE, BOB, CAROL, DEFAULTS, Desk
from worker.database import transaction
from worker.domain.errors import Conflict, InvalidNumber, InvalidRequest, TruetickError
from worker.domain.message_request import parse_request
from worker.models import Event, Message
from worker.outbox.enqueue import Enqueued, Order, enqueue_all
from worker.outbox.events import Source


def store(desk: Desk, channel_id: int, *requests: dict[str, Any]) -> Sequence[Enqueued | TruetickError]:
    orders = [
        Order(request=parse_request({"text": "Hello"} | given), channel_id=channel_id, message_id=uuid4())
        for given in requests
    ]
    with transaction(desk.engine) as connection:
        return enqueue_all(connection, orders, defaults=DEFAULTS, now=desk.now, source=Source.API)


def stored(desk: Desk) -> list[tuple[UUID, str]]:
    """Ids and recipients of all messages, in the order of arrival."""
    return [tuple(row) for row in desk.read(select(Message.id, Message.recipient).order_by(Message.seq))]


def test_each_request_of_a_batch_gets_its_own_answer_in_order(desk: Desk) -> None:
    channel_id = desk.channel()
    [earlier] = store(desk, channel_id, {"to": ALICE, "idempotency_key": "known"})
    assert isinstance(earlier, Enqueued)

    past = (desk.now - timedelta(seconds=1)).isoformat()
    answers = store(
        desk,
        channel_id,
        {"to": BOB},
        {"to": "12"},
        {"to": ALICE, "idempotency_key": "known"},
        {"to": CAROL, "idempotency_key": "known"},
        {"to": CAROL, "expires_at": past},
        {"to": CAROL},
    )

    first, short, same, other, late, last = answers
    assert isinstance(first, Enqueued)
    assert first.created
    assert isinstance(short, InvalidNumber)
    assert isinstance(same, Enqueued)
    assert (same.message_id, same.created) == (earlier.message_id, False)
    assert isinstance(other, Conflict)
    assert isinstance(late, InvalidRequest)
    assert isinstance(last, Enqueued)
    assert stored(desk) == [(earlier.message_id, ALICE), (first.message_id, BOB), (last.message_id, CAROL)]
    assert len(desk.read(select(Event.id).where(Event.message_seq.is_not(None)))) == 3


def test_twins_within_a_batch_are_one_message_and_opposites_a_conflict(desk: Desk) -> None:
    chosen = str(uuid4())
    answers = store(
        desk,
        desk.channel(),
        {"to": ALICE, "idempotency_key": "k"},
        {"to": ALICE, "idempotency_key": "k"},
        {"to": BOB, "idempotency_key": "k"},
        {"to": CAROL, "message_id": chosen},
        {"to": CAROL, "message_id": chosen},
        {"to": CAROL, "message_id": chosen, "idempotency_key": "k"},
    )
    ids = [answer.message_id for answer in answers if isinstance(answer, Enqueued)]
    assert [type(answer) for answer in answers] == [Enqueued, Enqueued, Conflict, Enqueued, Enqueued, Conflict]
    assert [answer.created for answer in answers if isinstance(answer, Enqueued)] == [True, False, True, False]
    assert ids[0] == ids[1]
    assert ids[2] == ids[3] == UUID(chosen)
    assert [recipient for _, recipient in stored(desk)] == [ALICE, CAROL]


def test_a_thousand_keep_the_order_in_which_they_were_given(desk: Desk) -> None:
    texts = [str(number) for number in range(1000)]
    answers = store(desk, desk.channel(), *({"to": ALICE, "text": text} for text in texts))
    assert [answer.message_id for answer in answers if isinstance(answer, Enqueued)] == [
        message_id for message_id, _ in stored(desk)
    ]
    rows = desk.read(select(Message.content).order_by(Message.seq))
    assert [row.content["text"] for row in rows] == texts


def test_the_same_batch_from_many_sides_at_once_is_stored_once(desk: Desk) -> None:
    channel_id = desk.channel()
    batch = [{"to": ALICE, "text": str(number), "idempotency_key": f"row-{number}"} for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: store(desk, channel_id, *batch), range(8)))
    ids = [message_id for message_id, _ in stored(desk)]
    assert len(ids) == len(batch)
    for answers in results:
        assert [answer.message_id for answer in answers if isinstance(answer, Enqueued)] == ids
    created = [answer for answers in results for answer in answers if isinstance(answer, Enqueued) and answer.created]
    assert len(created) == len(batch)
