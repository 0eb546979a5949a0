"""POST /api/messages and GET /api/messages/{id}: stored once, answered in one form, refused with a reason."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from crm_bridge.web import answers
from tests.bridge.conftest import AUTHORIZED
from worker.database import snapshot
from worker.models import Message
from worker.parts import Parts

HELLO = {"to": "70330 09600", "text": "Hello"}


def post(client: FlaskClient, body: dict[str, Any]) -> TestResponse:
    return client.post("/api/messages", json=body, headers=AUTHORIZED)


def stored(parts: Parts) -> int:
    with snapshot(parts.engine) as connection:
        return connection.execute(select(func.count()).select_from(Message)).scalar_one()


def test_a_message_is_stored_and_answered_with_202(client: FlaskClient) -> None:
    answer = post(client, HELLO | {"crm_ref": "4711", "metadata": {"order": 12}})

    assert answer.status_code == 202
    message = answers.Message.model_validate(answer.json)
    assert (message.status, message.state, message.recipient) == ("pending", "queued", "+917033009600")
    assert (message.to, message.crm_ref, message.metadata) == ("70330 09600", "4711", {"order": 12})
    assert message.id.version == 4
    assert answer.headers["Location"] == f"/api/messages/{message.id}"


def test_a_message_can_be_looked_up_with_its_history(client: FlaskClient) -> None:
    place = post(client, HELLO).headers["Location"]

    answer = client.get(place, headers=AUTHORIZED)

    found = answers.MessageWithHistory.model_validate(answer.json)
    assert found.pending_reason == "channel_unverified"
    assert [(event.source, event.after) for event in found.events] == [("api", "queued")]
    assert found.attempt_log == []


def test_the_caller_may_choose_the_id(client: FlaskClient) -> None:
    chosen = uuid4()

    answer = post(client, HELLO | {"message_id": str(chosen)})

    assert UUID(answer.json["id"]) == chosen


@pytest.mark.parametrize("key", [{"idempotency_key": "bill-17"}, {"message_id": str(uuid4())}])
def test_the_same_request_again_is_answered_with_200_and_the_first_message(
    client: FlaskClient, parts: Parts, key: dict[str, str]
) -> None:
    first, second = post(client, HELLO | key), post(client, HELLO | key)

    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json["id"] == first.json["id"]
    assert stored(parts) == 1


def test_another_content_under_the_same_key_is_a_conflict(client: FlaskClient, parts: Parts) -> None:
    post(client, HELLO | {"idempotency_key": "bill-17"})

    answer = post(client, HELLO | {"text": "Good bye", "idempotency_key": "bill-17"})

    assert (answer.status_code, answer.json["code"]) == (409, "conflict")
    assert stored(parts) == 1


def test_many_requests_at_once_under_one_key_make_one_message(app: APIFlask, parts: Parts) -> None:
    def send(_: int) -> TestResponse:
        return post(app.test_client(), HELLO | {"idempotency_key": "once"})

    with ThreadPoolExecutor(8) as senders:
        got = list(senders.map(send, range(24)))

    assert sorted(answer.status_code for answer in got) == [200] * 23 + [202]
    assert len({answer.json["id"] for answer in got}) == 1
    assert stored(parts) == 1


@pytest.mark.parametrize(
    ("to", "code"),
    [("12", "too_short"), ("", "empty"), ("call me", "not_a_number"), ("x" * 5000, "too_long")],
)
def test_a_number_that_cannot_be_reached_is_refused_and_not_stored(
    client: FlaskClient, parts: Parts, to: str, code: str
) -> None:
    answer = post(client, HELLO | {"to": to})

    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert stored(parts) == 0


def test_a_channel_that_does_not_exist_is_refused_by_name(client: FlaskClient) -> None:
    answer = post(client, HELLO | {"channel": "sales"})

    assert (answer.status_code, answer.json["code"]) == (422, "unknown_channel")
    assert "sales" in answer.json["detail"]


def test_a_message_that_does_not_exist_is_404(client: FlaskClient) -> None:
    answer = client.get(f"/api/messages/{uuid4()}", headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
