"""Requests to send to somebody who wants no messages: refused with a code, one by one."""

from flask.testing import FlaskClient

from tests.bridge.conftest import AUTHORIZED
from worker import opt_out
from worker.outbox.events import Source
from worker.parts import Parts

NUMBER = "+917033009600"


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
