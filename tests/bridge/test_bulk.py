"""POST /api/messages/bulk: thousands in one request, one result an item, and nothing lost in silence."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from crm_bridge.web import bulk, composed_answers
from crm_bridge.web.bounded import TookTooLong
from tests.bridge.conftest import AUTHORIZED
from worker import intake
from worker.database import snapshot
from worker.models import Event, Message
from worker.parts import Parts

#: Of this process; what the machine does beside does not count.
TEN_THOUSAND_CPU_S = 10.0
#: The same while coverage traces every line.
TRACED_CPU_S = 30.0


def post(client: FlaskClient, items: Any, **headers: str) -> TestResponse:
    return client.post("/api/messages/bulk", json={"messages": items}, headers=AUTHORIZED | headers)


def message(number: int, **more: Any) -> dict[str, Any]:
    return {"to": f"+9170330{number:05d}", "text": f"Hello {number}"} | more


def stored(parts: Parts) -> int:
    with snapshot(parts.engine) as connection:
        return connection.execute(select(func.count()).select_from(Message)).scalar_one()


def codes(answer: TestResponse) -> list[str | None]:
    """The error of each item; None for one that was stored."""
    return [one["error"]["code"] if set(one) == {"error", "index"} else None for one in answer.json["messages"]]


def test_each_item_is_answered_by_itself_and_in_order(client: FlaskClient, parts: Parts) -> None:
    items = [
        message(1, crm_ref="first"),
        message(2) | {"to": "12"},
        message(3) | {"txet": "typo"},
        "not an object",
        message(4, channel="nowhere"),
        message(5) | {"text": "a\x00b"},
        message(6, expires_at="2020-01-01T00:00:00Z"),
        message(7, crm_ref="last"),
    ]

    answer = post(client, items)

    assert answer.status_code == 200
    assert codes(answer) == [
        *(None, "too_short", "invalid_request", "invalid_request"),
        *("unknown_channel", "bad_characters", "expired", None),
    ]
    told = composed_answers.BulkAnswer.model_validate(answer.json).messages
    assert [one.crm_ref for one in told if isinstance(one, composed_answers.Message)] == ["first", "last"]
    assert [one.index for one in told if isinstance(one, composed_answers.RefusedItem)] == [1, 2, 3, 4, 5, 6]
    assert stored(parts) == 2


def test_ten_thousand_messages_are_taken_in_one_request(client: FlaskClient, parts: Parts) -> None:
    # To five hundred people: what a number means is remembered, and is not what this is about.
    items = [message(n, to=f"+9170330{n % 500:05d}", idempotency_key=f"c-{n}") for n in range(bulk.MOST_MESSAGES)]

    begun = time.process_time()
    answer = post(client, items)
    took_s = time.process_time() - begun

    assert codes(answer) == [None] * bulk.MOST_MESSAGES
    assert [one["recipient"] for one in answer.json["messages"]] == [item["to"] for item in items]
    assert took_s < (TEN_THOUSAND_CPU_S if sys.gettrace() is None else TRACED_CPU_S)
    with snapshot(parts.engine) as connection:
        assert connection.execute(
            select(func.count()).select_from(Event).where(Event.after == "queued")
        ).scalar_one() == (bulk.MOST_MESSAGES)
    assert post(client, [message(1)] * (bulk.MOST_MESSAGES + 1)).json["code"] == "too_many_messages"


def test_the_same_bulk_again_makes_nothing_new(client: FlaskClient, parts: Parts) -> None:
    items = [message(number, idempotency_key=f"bill-{number}") for number in range(3)] + [
        message(3, message_id=str(uuid4()))
    ]

    first, second = post(client, items), post(client, items)

    assert [one["id"] for one in second.json["messages"]] == [one["id"] for one in first.json["messages"]]
    assert stored(parts) == 4


def test_the_same_key_within_one_bulk_is_one_message_and_another_content_a_conflict(
    client: FlaskClient, parts: Parts
) -> None:
    once = message(1, idempotency_key="once")

    answer = post(client, [once, once, once | {"text": "Something else"}])

    first, second, third = answer.json["messages"]
    assert first["id"] == second["id"]
    assert third["error"]["code"] == "conflict"
    assert stored(parts) == 1


def test_a_key_in_the_header_makes_the_whole_bulk_repeatable(client: FlaskClient, parts: Parts) -> None:
    items = [message(1), message(2, idempotency_key="own"), message(3)]

    first = post(client, items, **{"Idempotency-Key": "campaign-7"})
    second = post(client, items, **{"Idempotency-Key": "campaign-7"})
    other = post(client, [*items[:2], message(4)], **{"Idempotency-Key": "campaign-7"})

    assert first.json == second.json
    assert codes(other) == [None, None, "conflict"]
    assert stored(parts) == 3
    too_long = post(client, items, **{"Idempotency-Key": "k" * (bulk.LONGEST_KEY + 1)})
    assert (too_long.status_code, too_long.json["code"]) == (422, "bad_idempotency_key")


def test_many_bulks_at_once_under_the_same_keys_make_each_message_once(app: APIFlask, parts: Parts) -> None:
    items = [message(number) for number in range(40)]

    def send(_: int) -> TestResponse:
        return post(app.test_client(), items, **{"Idempotency-Key": "once"})

    with ThreadPoolExecutor(8) as senders:
        got = list(senders.map(send, range(20)))

    ids = [[one["id"] for one in answer.json["messages"]] for answer in got]
    assert ids == [ids[0]] * 20
    assert stored(parts) == 40


class Flaky:
    """`intake.send_requests`, whose database goes away at the n-th chunk."""

    def __init__(self, fails_at: int, error: Exception) -> None:
        self._real = intake.send_requests
        self._fails_at = fails_at
        self._error = error
        self.calls = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self._fails_at:
            raise self._error
        return self._real(*args, **options)


AWAY = OperationalError("INSERT", {}, Exception("the server closed the connection"))


def test_a_database_that_goes_away_in_between_leaves_the_rest_with_an_error_each(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)
    monkeypatch.setattr(intake, "send_requests", Flaky(2, AWAY))

    answer = post(client, [message(number) for number in range(6)])

    assert answer.status_code == 200
    assert codes(answer) == [None, None, *["database_away"] * 4]
    unknown, not_tried = (answer.json["messages"][place]["error"]["message"] for place in (2, 4))
    assert "not known whether" in unknown
    assert "was not stored" in not_tried
    assert stored(parts) == 2


def test_a_database_that_is_away_from_the_beginning_is_a_503_of_the_whole(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "send_requests", Flaky(1, AWAY))

    answer = post(client, [message(1), message(2)])

    assert (answer.status_code, answer.json["code"]) == (503, "database_away")
    assert stored(parts) == 0


def test_a_database_that_freezes_when_all_is_stored_takes_no_answer_back(
    sqlite_client: FlaskClient, sqlite_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def freeze(*_: object) -> bool:
        raise TookTooLong

    monkeypatch.setattr(intake, "needs_wake", freeze)

    assert codes(post(sqlite_client, [message(1), message(2)])) == [None, None]
    assert stored(sqlite_parts) == 2


def test_what_nobody_thought_of_spoils_only_its_own_chunk(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CHUNK", 2)
    monkeypatch.setattr(intake, "send_requests", Flaky(2, RuntimeError("the number is +917033000002")))

    answer = post(client, [message(number) for number in range(6)])

    assert codes(answer) == [None, None, "internal_error", "internal_error", None, None]
    assert "7033000002" not in str(answer.json["messages"][2])
    assert stored(parts) == 4


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"messages": {}}, 422, "invalid_request"),
        ({"messages": None}, 422, "invalid_request"),
        ({"messages": [], "more": 1}, 422, "invalid_request"),
        ([], 400, "not_an_object"),
    ],
)
def test_a_body_of_another_shape_is_refused_as_a_whole(
    sqlite_client: FlaskClient, body: Any, status: int, code: str
) -> None:
    answer = sqlite_client.post("/api/messages/bulk", json=body, headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_nothing_to_send_is_nothing_wrong(sqlite_client: FlaskClient) -> None:
    assert post(sqlite_client, []).json == {"messages": []}


def test_a_bulk_may_be_larger_than_one_message_but_not_without_end(sqlite_client: FlaskClient) -> None:
    large = post(sqlite_client, [message(number, metadata={"a": "x" * 8000}) for number in range(50)])
    endless = sqlite_client.post(
        "/api/messages/bulk",
        data=b'{"messages": ["' + b"x" * bulk.LARGEST_BODY_BYTES + b'"]}',
        headers=AUTHORIZED | {"Content-Type": "application/json"},
    )

    assert codes(large) == [None] * 50
    assert (endless.status_code, endless.json["code"]) == (413, "too_large")
    assert str(bulk.LARGEST_BODY_BYTES // 1024) in endless.json["detail"]
