"""Enqueueing: once, however often and from however many sides the same thing is asked."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from tests.outbox.desk import ALICE, DEFAULTS, Desk
from worker.database import transaction
from worker.domain.errors import Conflict, InvalidNumber, InvalidRequest
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.models import Event, Message
from worker.outbox.enqueue import Enqueued, enqueue
from worker.outbox.events import Source

PARALLEL = 20


@pytest.fixture
def store(desk: Desk) -> Callable[..., Enqueued]:
    channel_id = desk.channel()

    def store(keep_refused: bool = False, **request: object) -> Enqueued:
        with transaction(desk.engine) as connection:
            return enqueue(
                connection,
                parse_request({"to": ALICE, "text": "Hello"} | request),
                channel_id=channel_id,
                message_id=uuid4(),
                defaults=DEFAULTS,
                now=desk.now,
                source=Source.API,
                keep_refused=keep_refused,
            )

    return store


def count(desk: Desk) -> tuple[int, int]:
    """How many messages, and events of messages, are stored."""
    return len(desk.read(select(Message.seq))), len(desk.read(select(Event.id).where(Event.message_seq.is_not(None))))


@pytest.mark.parametrize("same", ["message_id", "idempotency_key"])
def test_many_at_once_store_one_message_and_one_event(desk: Desk, store: Callable[..., Enqueued], same: str) -> None:
    value = str(uuid4())
    with ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(lambda _: store(**{same: value}), range(PARALLEL)))
    assert [result.created for result in results].count(True) == 1
    assert len({result.message_id for result in results}) == 1
    assert {result.state for result in results} == {MessageState.QUEUED}
    assert count(desk) == (1, 1)


def test_a_repetition_tells_how_far_the_message_has_come(desk: Desk, store: Callable[..., Enqueued]) -> None:
    first = store(idempotency_key="order-1", expires_at=(desk.now + timedelta(seconds=1)).isoformat())
    desk.wait(1)
    desk.expire()
    again = store(idempotency_key="order-1", expires_at=(desk.now).isoformat())
    assert (again.message_id, again.created, again.state) == (first.message_id, False, MessageState.EXPIRED)


@pytest.mark.parametrize("same", ["message_id", "idempotency_key"])
@pytest.mark.parametrize("other", [{"text": "Bye"}, {"to": "+917033009601"}, {"priority": "bulk"}])
def test_the_same_key_for_another_content_is_a_conflict(
    desk: Desk, store: Callable[..., Enqueued], same: str, other: dict[str, str]
) -> None:
    value = str(uuid4())
    store(**{same: value})
    with pytest.raises(Conflict) as caught:
        store(**{same: value} | other)
    assert "Bye" not in caught.value.message
    assert count(desk) == (1, 1)


def test_another_spelling_or_note_under_the_same_key_is_the_same_message(
    desk: Desk, store: Callable[..., Enqueued]
) -> None:
    first = store(to="+91 70330 09600", idempotency_key="order-1")
    again = store(to="7033009600", idempotency_key="order-1", crm_ref="lead-7", metadata={"try": 2})
    assert (again.message_id, again.created) == (first.message_id, False)
    with pytest.raises(Conflict) as caught:
        store(to="7033009601", idempotency_key="order-1")
    assert "recipient, content or option" in caught.value.message


def test_a_time_that_has_passed_is_refused_unless_its_sender_would_not_see_that(
    desk: Desk, store: Callable[..., Enqueued]
) -> None:
    past = desk.now.isoformat()
    with pytest.raises(InvalidRequest) as caught:
        store(expires_at=past)
    assert caught.value.code == "expired"
    assert count(desk) == (0, 0)
    assert store(expires_at=past, keep_refused=True).state is MessageState.QUEUED
    assert desk.expire() == 1


def test_without_a_key_the_same_text_is_another_message(desk: Desk, store: Callable[..., Enqueued]) -> None:
    assert store().message_id != store().message_id
    assert count(desk) == (2, 2)


def test_every_field_of_a_request_is_kept(desk: Desk, store: Callable[..., Enqueued]) -> None:
    message_id = uuid4()
    send_after, expires_at = desk.now + timedelta(hours=1), desk.now + timedelta(hours=2)
    store(
        to=" 070330-09600 ",
        text=None,
        poll={"question": "Tea?", "options": ["yes", "no"]},
        message_id=str(message_id),
        idempotency_key="k",
        priority="bulk",
        send_after=send_after.isoformat(),
        expires_at=expires_at.isoformat(),
        on_doubt="resend",
        crm_ref="lead-7",
        metadata={"owner": {"name": "Ünïcödé 😀", "n": [1, 2.5, None, True]}},
    )
    (row,) = desk.read(select(Message.__table__))
    assert row.id == message_id
    assert (row.to, row.recipient, row.kind) == (" 070330-09600 ", ALICE, "poll")
    assert row.content == {"poll": {"question": "Tea?", "options": ["yes", "no"], "multi_select": False}}
    assert (row.priority, row.on_doubt, row.crm_ref, row.idempotency_key) == (1, "resend", "lead-7", "k")
    assert (row.due_at, row.expires_at, row.created_at) == (send_after, expires_at, desk.now)
    assert row.metadata == {"owner": {"name": "Ünïcödé 😀", "n": [1, 2.5, None, True]}}
    assert (row.attempts, row.checks, row.state) == (0, 0, MessageState.QUEUED)


def test_what_is_left_open_follows_the_defaults(desk: Desk, store: Callable[..., Enqueued]) -> None:
    store(to="7033009600", send_after=(desk.now - timedelta(days=1)).isoformat())
    (row,) = desk.read(select(Message.__table__))
    assert (row.recipient, row.on_doubt, row.priority) == (ALICE, "hold", 0)
    assert row.due_at == desk.now, "a time in the past gives no place before those who came earlier"


def test_an_unreachable_number_is_refused_or_kept_as_failed_with_its_reason(
    desk: Desk, store: Callable[..., Enqueued]
) -> None:
    with pytest.raises(InvalidNumber):
        store(to="12")
    assert count(desk) == (0, 0)
    kept = store(to="12", keep_refused=True)
    assert kept.state is MessageState.FAILED
    (row,) = desk.read(select(Message.__table__))
    assert (row.id, row.recipient, row.error_code) == (kept.message_id, None, "too_short")
    assert row.error_message
    assert desk.events(row.seq) == [(None, "failed", "api")]
    assert isinstance(row.id, UUID)


def test_any_far_time_can_be_stored(desk: Desk, store: Callable[..., Enqueued]) -> None:
    store(send_after="9999-12-31T23:59:59Z")
    store(expires_at="0001-01-01T00:00:00Z", keep_refused=True)
    assert desk.expire() == 1
