"""One row per line of the contract's classification table and per known failure shape."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.strategies import bodies
from worker.domain.outcomes import Cause, Outcome, OutcomeKind
from worker.gateway.classify import classify_send

NOW = 1_790_000_000.0
NOT_CONNECTED = "Your Whatsapp Session is not connected please connect your session first."
THROTTLED_TRIAL = "You are on a free trial. You can only send 1 message every 1 minute."
PROTECTED = "You have account protection enabled. You can only send 1 message every 5 seconds."
NO_PLAN = "Active subscription or trial is required to use the API"
NOT_ON_WHATSAPP = "JID does not exist on WhatsApp"
NOT_A_JID = "The to must be a valid WhatsApp JID (User, Group, or Channel format)."


def classify(status: int, body: object, headers: dict[str, str] | None = None, **options: Any) -> Outcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_send(status, headers or {}, raw, now=NOW, **options)


def refusal(text: str, **more: object) -> dict[str, object]:
    return {"success": False, "message": text, **more}


@pytest.mark.parametrize(
    ("body", "msg_id"),
    [
        ({"success": True, "data": {"msgId": 58224349, "jid": "9715", "status": "in_progress"}}, 58224349),
        ({"success": True, "data": {"msgId": "58224349"}}, 58224349),
        ({"success": True, "data": {"msgId": 2**63 - 1}}, 2**63 - 1),
        ({"success": True, "data": {"msgId": 1, "new": [None]}, "help": {}, "message": NOT_CONNECTED}, 1),
        (b'\xef\xbb\xbf {"success":true,"data":{"msgId":7}} \n', 7),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_accepted_is_2xx_and_success_true_and_a_msg_id(status: int, body: object, msg_id: int) -> None:
    outcome = classify(status, body)
    assert outcome == Outcome(cause=Cause.ACCEPTED, http_status=status, gateway_msg_id=msg_id)


@pytest.mark.parametrize(
    "body",
    [
        {"success": "true", "data": {"msgId": 5}},
        {"success": 1, "data": {"msgId": 5}},
        {"success": True},
        {"success": True, "data": None},
        {"success": True, "data": [{"msgId": 5}]},
        {"success": True, "data": {}},
        {"success": True, "msgId": 5},
        *({"success": True, "data": {"msgId": wrong}} for wrong in (None, True, 0, -5, 5.5, 2**63, "", "x5", [5])),
        {"success": True, "data": {"msgId": "٥"}},
        {"success": True, "data": {"msgId": "1" * 5_000}},
        {"success": False, "data": {"msgId": 5}},
        {"data": {"msgId": 5}},
        {"message": NOT_CONNECTED},
        {"success": None, "message": NOT_CONNECTED},
        {},
        [],
        [{"success": True, "data": {"msgId": 5}}],
        5,
        "accepted",
        None,
        True,
        b"",
        b" ",
        b"<html><title>OK</title></html>",
        b'{"success":true,"data":{"msgId":5}',
        b'{"success":true,"data":{"msgId":5}} trailing',
        b'{"success":true,"data":{"msgId":5,"x":NaN}}',
        b'{"success":true,"data":{"msgId":5,"x":-Infinity}}',
        b'{"success":true,"data":{"msgId":' + b"9" * 10_000 + b"}}",
        b'{"success":true,"data":{"msgId":5,"x":"\xe9"}}',
        '{"success":true,"data":{"msgId":5}}'.encode("utf-16"),
        b"[" * 200_000,
        b'{"a":' * 100_000,
    ],
)
def test_any_other_2xx_proves_nothing(body: object) -> None:
    outcome = classify(200, body)
    assert outcome.cause is Cause.UNREADABLE_ANSWER
    assert outcome.kind is OutcomeKind.UNKNOWN


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        # timeout, reset, 408, 5xx, 52x: nobody knows, but where WaSender says that it refused the message
        (408, refusal("Request Timeout"), Cause.TIMEOUT),
        (408, refusal(NOT_CONNECTED), Cause.TIMEOUT),
        *((status, refusal(NOT_CONNECTED), Cause.CHANNEL_DOWN) for status in (500, 502, 503, 599)),
        (500, {"success": False, "error": "WhatsApp session is not connected."}, Cause.CHANNEL_DOWN),
        (500, {"message": NOT_CONNECTED}, Cause.SERVER_ERROR),
        (500, {"success": True, "message": NOT_CONNECTED}, Cause.SERVER_ERROR),
        (500, refusal(NOT_CONNECTED, data={"msgId": 5}), Cause.SERVER_ERROR),
        (500, refusal("Redis is not connected"), Cause.SERVER_ERROR),
        (500, refusal("Could not scan the row"), Cause.SERVER_ERROR),
        (500, refusal("Session expired"), Cause.SERVER_ERROR),
        (503, f"<html><title>{NOT_CONNECTED}</title></html>".encode(), Cause.SERVER_ERROR),
        (502, b"<html>", Cause.SERVER_ERROR),
        (503, b"", Cause.SERVER_ERROR),
        (520, b"<html><title>520: Web server is returning an unknown error</title>", Cause.SERVER_ERROR),
        (524, b"<html>", Cause.SERVER_ERROR),
        (999, {}, Cause.SERVER_ERROR),
        (101, {}, Cause.SERVER_ERROR),
        # throttled
        (429, {"message": THROTTLED_TRIAL, "retry_after": 60}, Cause.THROTTLED),
        (429, refusal(NOT_CONNECTED), Cause.THROTTLED),
        (429, b"<html>", Cause.THROTTLED),
        (429, b"", Cause.THROTTLED),
        (422, refusal("Rate Limit exceeded"), Cause.THROTTLED),
        (403, {"message": "Too Many Attempts."}, Cause.THROTTLED),
        (200, refusal(PROTECTED), Cause.THROTTLED),
        (403, refusal(THROTTLED_TRIAL), Cause.THROTTLED),
        # misconfigured credential
        (401, refusal("This endpoint requires a valid Personal Access Token."), Cause.WRONG_CREDENTIAL),
        (403, refusal("This endpoint requires a valid personal access token."), Cause.WRONG_CREDENTIAL),
        # auth
        (401, refusal("API key is required"), Cause.BAD_KEY),
        (401, refusal("invalid API key", help="see the dashboard"), Cause.BAD_KEY),
        (401, refusal("Session not found for the provided API key"), Cause.BAD_KEY),
        (401, refusal("Unnotarized"), Cause.BAD_KEY),
        (401, b"", Cause.BAD_KEY),
        (401, refusal(NOT_ON_WHATSAPP), Cause.BAD_KEY),
        (200, refusal("Invalid API key"), Cause.BAD_KEY),
        (404, refusal("Session not found for the provided API key"), Cause.BAD_KEY),
        # session down, under any status
        *((status, refusal(NOT_CONNECTED), Cause.CHANNEL_DOWN) for status in (200, 400, 401, 403, 404, 409, 422)),
        (200, {"success": False, "error": "WhatsApp session is not connected. Cannot restart."}, Cause.CHANNEL_DOWN),
        (200, refusal("The session is logged out"), Cause.CHANNEL_DOWN),
        (409, refusal("Please SCAN the QR code"), Cause.CHANNEL_DOWN),
        (400, refusal("Session expired, connect your session again"), Cause.CHANNEL_DOWN),
        (403, refusal("Session is not connected. Check your subscription."), Cause.CHANNEL_DOWN),
        # account, plan
        (402, refusal("Payment required"), Cause.NO_SUBSCRIPTION),
        (403, refusal("Forbidden"), Cause.NO_SUBSCRIPTION),
        # a firewall's page: perhaps about this text, perhaps about WaSender's answer to it
        (403, b"<html><title>Attention Required! | Cloudflare</title>", Cause.UNREADABLE_ANSWER),
        (403, b"", Cause.UNREADABLE_ANSWER),
        (200, refusal(NO_PLAN), Cause.NO_SUBSCRIPTION),
        (401, refusal(NO_PLAN), Cause.NO_SUBSCRIPTION),
        (422, refusal("You are on a trial plan and cannot send bulk message"), Cause.NO_SUBSCRIPTION),
        (400, {"success": False, "error": "You have reached your WhatsApp session limit."}, Cause.NO_SUBSCRIPTION),
        (400, refusal("Please upgrade"), Cause.NO_SUBSCRIPTION),
        # recipient
        (422, refusal(NOT_ON_WHATSAPP, errors={"to": ["The provided JID does not exist on WhatsApp."]}),
         Cause.NOT_ON_WHATSAPP),
        (422, refusal("Validation failed", errors={"to": ["The provided JID does not exist on WhatsApp."]}),
         Cause.NOT_ON_WHATSAPP),
        (422, refusal("The provided JID does not exist on WhatsApp."), Cause.NOT_ON_WHATSAPP),
        (200, refusal(NOT_ON_WHATSAPP), Cause.NOT_ON_WHATSAPP),
        (422, refusal("Validation failed", errors={"to": NOT_A_JID}), Cause.MALFORMED_RECIPIENT),
        # other 400 and 422
        (422, refusal("Validation failed", errors={"text": ["The text field is required."]}), Cause.INVALID_REQUEST),
        (422, refusal("https://example.com/scan/upgrade.pdf is no document"), Cause.INVALID_REQUEST),
        (422, b"", Cause.INVALID_REQUEST),
        (400, {"success": False, "error": "Bad Request"}, Cause.INVALID_REQUEST),
        # not WaSender's API at all
        (404, refusal("The route api/send-message could not be found."), Cause.WRONG_ADDRESS),
        (404, b"<html>", Cause.WRONG_ADDRESS),
        (405, refusal("The POST method is not supported for this route."), Cause.WRONG_ADDRESS),
        (301, b"", Cause.WRONG_ADDRESS),
        (307, refusal(NOT_CONNECTED), Cause.WRONG_ADDRESS),
        (400, b"<html>The plain HTTP request was sent to HTTPS port</html>", Cause.WRONG_ADDRESS),
        # refused with a reason of its own
        (200, refusal("You cannot send a message to yourself."), Cause.REFUSED),
        (200, {"success": False}, Cause.REFUSED),
        (409, refusal("Conflict"), Cause.REFUSED),
        (418, refusal("?"), Cause.REFUSED),
        # contradictions
        (422, {"success": True}, Cause.UNREADABLE_ANSWER),
        (401, {"success": False, "data": {"msgId": 5}}, Cause.UNREADABLE_ANSWER),
    ],
)  # fmt: skip
def test_the_classification_table(status: int, body: object, cause: Cause) -> None:
    outcome = classify(status, body)
    assert outcome.cause is cause
    assert outcome.http_status == status
    assert outcome.gateway_msg_id is None


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"retry_after": 3}, {}, 3),
        ({"retry_after": "4"}, {}, 4),
        ({"retryAfter": 5}, {}, 5),
        ({"retry_after": 0}, {"Retry-After": "9"}, 0),
        ({}, {"retry-after": "7"}, 7),
        ({}, {"Retry-After": "Mon, 21 Sep 2026 14:13:50 GMT"}, 30),
        ({}, {"Retry-After": "Mon, 21 Sep 2020 14:13:50 GMT"}, 0),
        ({}, {"X-RateLimit-Reset": "12"}, 12),
        ({}, {"X-RateLimit-Reset": str(int(NOW) + 60)}, 60),
        ({}, {"X-RateLimit-Reset": str(int(NOW) - 60)}, 0),
        ({"retry_after": 60}, {"X-RateLimit-Daily-Remaining": "0", "X-RateLimit-Daily-Reset": "30000"}, 30_000),
        ({"retry_after": 60}, {"X-RateLimit-Daily-Remaining": "3", "X-RateLimit-Daily-Reset": "30000"}, 60),
        ({}, {"X-RateLimit-Daily-Remaining": "0", "X-RateLimit-Daily-Reset": str(int(NOW) + 600)}, 600),
        ({"retry_after": 10**9}, {}, 86_400),
        ({}, {}, None),
        *(({"retry_after": wrong}, {}, None) for wrong in (-1, True, "soon", None, [5], "nan", "1e999", 10**400)),
        ({}, {"Retry-After": "some day"}, None),
        ({}, {"X-RateLimit-Reset": ""}, None),
    ],
)
def test_the_wait_that_a_throttled_answer_asks_for(
    body: dict[str, object], headers: dict[str, str], seconds: float | None
) -> None:
    assert classify(429, {"message": "slow down", **body}, headers).retry_after_s == seconds
    assert classify(422, {"message": "slow down", **body}, headers).retry_after_s is None


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (refusal("No such thing", error="not this"), "No such thing"),
        ({"success": False, "error": "Only this"}, "Only this"),
        ({"success": False, "message": " ", "errors": {"to": [], "text": ["Too\n\tshort."]}}, "Too short."),
        ({"success": False, "message": ["x"], "errors": "one line"}, "one line"),
        (b"<html><head><title>Error 1010</title>", "Error 1010"),
        (b"gibberish", ""),
        (refusal("nul\x00 and \ud800 and \u202e are gone"), "nul and and are gone"),
        (refusal("x y " * 200), ("x y " * 200)[:299] + "…"),
        (refusal("key c0ffee and C0FFEE"), "key [masked] and [masked]"),
        (refusal("to +91 70330 09600 or 917033009600"), "to [number] or [number]"),
        (refusal(f"token {'ab12' * 16} and 12|{'Zz9' * 12}"), "token [masked] and [masked]"),
    ],
)
def test_the_detail_is_wasenders_text_bounded_and_without_secrets(body: object, detail: str) -> None:
    assert classify(422, body, secrets=("c0ffee",)).detail == detail


headers = st.dictionaries(
    st.sampled_from(["Retry-After", "X-RateLimit-Reset", "X-RateLimit-Daily-Remaining", "X-RateLimit-Daily-Reset"]),
    st.sampled_from(["0", "-1", "nan", "1e400", str(NOW), "Mon, 21 Sep 2026 14:13:50 GMT"]) | st.text(max_size=20),
)


@settings(max_examples=300, deadline=None)
@given(
    status=st.integers(100, 999) | st.sampled_from([200, 401, 422, 429]),
    headers=headers,
    body=bodies,
    flaw=st.none() | st.sampled_from([Cause.TIMEOUT, Cause.CONNECTION_LOST, Cause.UNREADABLE_ANSWER]),
)
def test_any_answer_has_exactly_one_outcome(
    status: int, headers: dict[str, str], body: bytes, flaw: Cause | None
) -> None:
    outcome = classify_send(status, headers, body, now=NOW, flaw=flaw)

    assert len(outcome.detail) <= 300
    assert outcome.retry_after_s is None or 0 <= outcome.retry_after_s <= 86_400
    if outcome.kind is OutcomeKind.ACCEPTED:
        answer = json.loads(body)
        assert 200 <= status < 300
        assert flaw is None
        assert answer["success"] is True
        assert int(answer["data"]["msgId"]) == outcome.gateway_msg_id
    if 200 <= status < 300 and outcome.kind in (OutcomeKind.NOT_SENT, OutcomeKind.REJECTED):
        assert json.loads(body)["success"] is False
    if status == 408 or (status >= 500 and outcome.cause is not Cause.CHANNEL_DOWN):
        assert outcome.kind is OutcomeKind.UNKNOWN
    if status >= 500 and outcome.cause is Cause.CHANNEL_DOWN:
        assert json.loads(body.decode("utf-8-sig"))["success"] is False
