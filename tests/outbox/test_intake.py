"""What a CRM enqueues as a task is stored once and never dropped in silence, whatever it is."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.outbox.desk import ALICE, Desk
from worker import intake
from worker.channels import registry
from worker.domain.message_status import MessageState
from worker.models import Event, Message
from worker.outbox.enqueue import Enqueued
from worker.parts import Parts, build_parts
from worker.settings import read_settings

TakeIn = Callable[..., Enqueued]


@pytest.fixture
def parts(desk: Desk, tmp_path: Path) -> Iterator[Parts]:
    url = desk.engine.url.render_as_string(hide_password=False)
    parts = build_parts(read_settings(DATABASE_URL=url, TRUETICK_VAR_DIR=tmp_path, _env_file=None))
    yield parts
    parts.gateway.close()
    parts.engine.dispose()


@pytest.fixture
def take_in(parts: Parts) -> TakeIn:
    def take_in(given: Mapping[str, Any], task_id: str | None = None) -> Enqueued:
        return intake.take_in(parts, given, task_id=task_id or str(uuid4()))

    return take_in


def stored(desk: Desk) -> list[Any]:
    return list(desk.read(select(Message.__table__).order_by(Message.seq)))


def test_the_same_task_delivered_again_is_the_same_message(desk: Desk, take_in: TakeIn) -> None:
    request, task_id = {"to": ALICE, "text": "Hello"}, str(uuid4())
    first, again = take_in(request, task_id), take_in(request, task_id)
    assert (first.created, again.created) == (True, False)
    assert first.message_id == again.message_id == UUID(task_id)
    assert len(stored(desk)) == 1


@pytest.mark.parametrize("request_", [{"to": ALICE, "text": "Hello"}, {"to": "12", "text": "Hello"}, {"to": ALICE}])
def test_a_task_delivered_to_many_at_once_is_one_message_with_one_event(
    desk: Desk, take_in: TakeIn, request_: dict[str, str]
) -> None:
    task_id = str(uuid4())
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda _: take_in(request_, task_id), range(20)))
    assert [result.created for result in results].count(True) == 1
    assert len(stored(desk)) == 1
    assert desk.read(select(func.count()).where(Event.message_seq.is_not(None)))[0][0] == 1


def test_a_task_id_that_is_no_uuid_names_one_message_all_the_same(take_in: TakeIn) -> None:
    request = {"to": ALICE, "text": "Hello"}
    assert take_in(request, "job 17").message_id == take_in(request, "job 17").message_id
    assert take_in(request, "job 18").created


def test_the_callers_message_id_wins_over_the_tasks(take_in: TakeIn) -> None:
    chosen = str(uuid4())
    request = {"to": ALICE, "text": "Hello", "message_id": chosen}
    assert take_in(request).message_id == UUID(chosen)
    assert not take_in(request).created


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"to": "12", "text": "Hello"}, "too_short"),
        ({"to": "someone@lid", "text": "Hello"}, "lid"),
        ({"to": ALICE}, "invalid_request"),
        ({"to": ALICE, "text": "Hello", "channel": "sales"}, "unknown_channel"),
        ({"to": ALICE, "text": "Hello {{name}}", "values": {"other": "Asha"}}, "missing_value"),
        ({"to": ALICE, "text": "Hello {{name", "values": {"name": "Asha"}}, "bad_placeholder"),
        ({}, "invalid_request"),
    ],
)
def test_what_cannot_be_sent_is_kept_as_failed_with_its_reason(
    desk: Desk, take_in: TakeIn, request_: dict[str, Any], code: str
) -> None:
    kept = take_in(request_ | {"crm_ref": "lead-7"})
    (row,) = stored(desk)
    assert kept.state is row.state is MessageState.FAILED
    assert (row.id, row.error_code, row.crm_ref) == (kept.message_id, code, "lead-7")
    assert row.error_message.endswith(".")
    assert desk.events(row.seq) == [(None, "failed", "api")]


@pytest.mark.parametrize("second", [{"text": "Bye"}, {"text": None}, {"text": "Hello", "channel": "sales"}])
def test_a_request_that_reuses_an_id_is_kept_beside_the_first_as_failed(
    desk: Desk, take_in: TakeIn, second: dict[str, str]
) -> None:
    chosen, task_id = str(uuid4()), str(uuid4())
    first = take_in({"to": ALICE, "text": "Hello", "message_id": chosen})
    clashing = {"to": ALICE, "message_id": chosen} | second
    kept, again = take_in(clashing, task_id), take_in(clashing, task_id)
    assert kept.message_id == again.message_id != first.message_id
    before, after = stored(desk)
    assert (before.state, after.state, after.error_code) == (MessageState.QUEUED, MessageState.FAILED, "conflict")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "garbage",
    [
        {"to": 7033009600, "text": "Hello"},
        {"to": ["a", {"b": None}], "text": "Hello"},
        {"to": "\x00\ud800 \U0001f600" * 100, "text": "Hello"},
        {"to": ALICE, "text": "\x00"},
        {"to": ALICE, "text": "Hello", "crm_ref": "\ud800"},
        {"to": ALICE, "text": "Hello", "\x00\ud800": 1},
        {"to": ALICE, "text": "Hello", "a\x00b": 1},
        {"to": "9" * 200_000, "text": "Hello"},
        {"to": ALICE, "text": "Hello" * 10_000},
        {"to": 10**5000, "text": 10**5000, "crm_ref": 10**5000, "message_id": 10**5000},
        {"to": nested(5000), "crm_ref": nested(5000), "message_id": nested(5000)},
        {"to": ALICE, "text": "Hello", "metadata": {"deep": nested(400)}},
        {"to": ALICE, "text": "Hello", "expires_at": "0001-01-01T00:00:00+05:00"},
        {"to": ALICE, "text": "Hello", "send_after": "9999-12-31T23:59:59-05:00"},
        {"to": ALICE, "text": "Hello", "message_id": "not-a-uuid"},
    ],
    ids=range(15),
)
def test_garbage_is_kept_as_failed_too(desk: Desk, take_in: TakeIn, garbage: dict[str, Any]) -> None:
    task_id = str(uuid4())
    kept, again = take_in(garbage, task_id), take_in(garbage, task_id)
    assert kept.message_id == again.message_id
    (row,) = stored(desk)
    assert row.state is MessageState.FAILED
    assert len(row.to) <= 200
    assert (row.error_code, bool(row.error_message)) != (None, False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
fields = st.sampled_from(["to", "text", "crm_ref", "metadata", "send_after", "contact", "message_id", "priority"])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request_=st.dictionaries(fields | st.text(st.characters(), max_size=8), json_values, max_size=6))
def test_whatever_a_task_says_there_is_a_message_for_it(take_in: TakeIn, request_: dict[str, Any]) -> None:
    task_id = str(uuid4())
    assert take_in(request_, task_id).message_id == take_in(request_, task_id).message_id


def test_the_default_channel_is_made_on_first_use_and_a_wake_up_waits_until_it_is_up(
    desk: Desk, parts: Parts, take_in: TakeIn
) -> None:
    enqueued = take_in({"to": ALICE, "text": "Hello"})
    assert desk.write(lambda c: registry.channel_id(c, "default")) == enqueued.channel_id
    assert not intake.needs_wake(parts, enqueued)
    desk.set_channel(enqueued.channel_id, state="up")
    assert intake.needs_wake(parts, enqueued)
    assert not intake.needs_wake(parts, Enqueued(enqueued.message_id, enqueued.channel_id, False, enqueued.state))
