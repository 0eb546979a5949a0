"""Requests to send to somebody who wants no messages: refused with a code, one by one."""

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.bridge.conftest import AUTHORIZED
from worker import opt_out
from worker.database import snapshot
from worker.models import Message
from worker.outbox.events import Source
from worker.parts import Parts

NUMBER = "+917033009600"


@pytest.fixture
def opted_out(sqlite_parts: Parts) -> Parts:
    """One of two people wants no messages."""
    opt_out.stop(sqlite_parts, NUMBER, at=sqlite_parts.clock(), source=Source.OPERATOR)
    return sqlite_parts


def test_of_a_bulk_only_what_goes_to_them_is_refused(sqlite_client: FlaskClient, opted_out: Parts) -> None:
    items = [{"to": to, "text": "Hello"} for to in ("+917033009601", NUMBER, "70330 09600", "+917033009602")]
    answer = sqlite_client.post("/api/messages/bulk", json={"messages": items}, headers=AUTHORIZED)
    assert answer.status_code == 200
    assert answer.json is not None
    first, *refused, last = answer.json["messages"]
    assert (first["status"], last["status"]) == ("pending", "pending")
    assert [one["error"]["code"] for one in refused] == ["opted_out", "opted_out"]


def test_not_even_a_test_message_goes_to_them(sqlite_client: FlaskClient, opted_out: Parts) -> None:
    asked = {"phone_number": NUMBER.removeprefix("+")}
    answer = sqlite_client.post("/api/whatsapp/test-message", json=asked, headers=AUTHORIZED)
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["code"] == "opted_out"
    with snapshot(opted_out.engine) as connection:
        assert connection.execute(select(Message.seq)).all() == []


def test_a_request_to_somebody_who_wants_no_messages_is_refused(
    sqlite_client: FlaskClient, sqlite_parts: Parts
) -> None:
    opt_out.stop(sqlite_parts, NUMBER, at=sqlite_parts.clock(), source=Source.OPERATOR)
    refused = sqlite_client.post("/api/messages", json={"to": NUMBER, "text": "Hello"}, headers=AUTHORIZED)
    assert refused.status_code == 422
    assert refused.json is not None
    assert refused.json["code"] == "opted_out"
    assert "7033009600" not in refused.get_data(as_text=True)
    taken = sqlite_client.post("/api/messages", json={"to": "+917033009601", "text": "Hello"}, headers=AUTHORIZED)
    assert taken.status_code == 202
