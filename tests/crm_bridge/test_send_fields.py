"""What the client takes and refuses before anybody is asked, and that it is what a worker takes."""

from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints
from uuid import UUID, uuid4

import pytest

from crm_bridge.send_fields import LARGEST_REQUEST, LONGEST_TEXT, SendFields, as_request
from worker.domain import message_request
from worker.domain.message_request import SendRequest, parse_request

URL = "https://files.example/a.bin"
FULL: dict[str, Any] = {
    "to": "+91 70330 09600",
    "text": "Hello {{name}}",
    "document_url": URL,
    "file_name": "bill.pdf",
    "values": {"name": "Asha", "count": 3, "price": 1.5},
    "reply_to": uuid4(),
    "message_id": uuid4(),
    "idempotency_key": "bill:4711",
    "channel": "sales",
    "region": "IN",
    "priority": "bulk",
    "send_after": datetime(2026, 11, 22, 12, tzinfo=UTC),
    "expires_at": "2026-11-23T12:00:00+05:30",
    "on_doubt": "hold",
    "quiet_hours": False,
    "check_number": True,
    "crm_ref": "4711",
    "metadata": {"branch": ["Pune", 7]},
}


def test_the_client_knows_the_fields_that_a_worker_knows() -> None:
    assert SendFields.__annotations__.keys() == SendRequest.model_fields.keys()
    choices = get_type_hints(SendRequest)
    for name in ("priority", "on_doubt"):
        ours = [set(get_args(part)) for part in get_args(get_type_hints(SendFields)[name]) if get_args(part)]
        theirs = [set(get_args(part)) for part in [choices[name], *get_args(choices[name])] if get_args(part)]
        assert ours[0] in [{one for one in part if isinstance(one, str)} for part in theirs]
    assert message_request.LONGEST_TEXT == LONGEST_TEXT


def test_what_the_client_takes_a_worker_understands() -> None:
    message_id, given = as_request(FULL)
    request = parse_request(given)
    assert request.message_id == message_id == FULL["message_id"]
    assert request.text == "Hello Asha"
    assert request.send_after == FULL["send_after"]


@pytest.mark.parametrize(
    "content",
    [
        {"image_url": URL},
        {"contact": {"name": "Asha", "phone": "+917033009600"}},
        {"location": {"latitude": 12.9, "longitude": 77.5}},
        {"poll": {"question": "Tea?", "options": ["yes", "no"]}},
    ],
)
def test_each_content_goes_through(content: dict[str, Any]) -> None:
    _, given = as_request({"to": FULL["to"], **content})
    assert parse_request(given).kind == next(iter(content)).removesuffix("_url")


def test_options_that_are_none_are_left_out_and_an_id_is_chosen() -> None:
    message_id, given = as_request({"to": "1", "text": "Hello", "channel": None, "send_after": None})
    assert given == {"to": "1", "text": "Hello", "message_id": str(message_id)}
    assert isinstance(message_id, UUID)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"to": None}, TypeError, "recipient"),
        ({"to": 7033009600}, TypeError, "to has to be a str"),
        ({"to": " "}, ValueError, "to is empty"),
        ({"text": None}, TypeError, "needs a text or another content"),
        ({"text": b"Hello"}, TypeError, "text has to be a str"),
        ({"text": "x" * (LONGEST_TEXT + 1)}, ValueError, "characters"),
        ({"phone": "7033009600"}, TypeError, "no field 'phone'"),
        ({"priority": "urgent"}, ValueError, "transactional, bulk"),
        ({"on_doubt": "drop"}, ValueError, "hold, resend"),
        ({"send_after": datetime(2026, 11, 22)}, ValueError, "with a zone"),  # noqa: DTZ001 - that is the point
        ({"expires_at": 1_795_000_000}, ValueError, "with a zone"),
        ({"message_id": "4711"}, ValueError, "has to be a UUID"),
        ({"reply_to": 4711}, ValueError, "has to be a UUID"),
        ({"metadata": {"when": datetime.now(UTC)}}, TypeError, "plain JSON"),
        ({"metadata": {"n": float("nan")}}, TypeError, "plain JSON"),
        ({"metadata": {"x": "y" * LARGEST_REQUEST}}, ValueError, "bytes"),
    ],
)
def test_what_can_be_no_message_is_refused_at_once(wrong: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        as_request({"to": "+91 70330 09600", "text": "A secret"} | wrong)
    assert "70330 09600" not in str(caught.value) or wrong == {"to": None}
    assert "A secret" not in str(caught.value)
