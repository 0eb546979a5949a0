"""Whatever a caller sends, the answer is a documented problem with a code, never a 500."""

import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from crm_bridge.web import answers
from crm_bridge.web.request_size import LARGEST_BODY_BYTES
from tests.bridge.conftest import AUTHORIZED
from worker.domain.message_request import SendRequest

JSON = {"Content-Type": "application/json"}
NESTED = '{"to":"7033009600","text":"a","metadata":' + '{"a":' * 200 + "1" + "}" * 200 + "}"
DEEP = "[" * 100_000


def send(client: FlaskClient, body: str | bytes, **headers: str) -> TestResponse:
    return client.post("/api/messages", data=body, headers=AUTHORIZED | JSON | headers)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "bad_json"),
        ("{", 400, "bad_json"),
        ("{'to': 1}", 400, "bad_json"),
        (b'{"to": "\xff"}', 400, "bad_json"),
        ('{"to": NaN}', 400, "bad_json"),
        ('{"to": -Infinity}', 400, "bad_json"),
        ('{"to": 1e999}', 400, "bad_json"),
        ('{"to": ' + "1" * 5000 + "}", 400, "bad_json"),
        ("[]", 400, "not_an_object"),
        ('"text"', 400, "not_an_object"),
        ("null", 400, "not_an_object"),
        ("17", 400, "not_an_object"),
        (DEEP, 400, "too_deep"),
        (NESTED, 400, "too_deep"),
        ('{"to": "1", "to": "2", "text": "a"}', 400, "duplicate_field"),
        ("{}", 422, "invalid_request"),
        ('{"to": "7033009600"}', 422, "invalid_request"),
        ('{"to": 7033009600, "text": "a"}', 422, "invalid_request"),
        ('{"to": "7033009600", "text": ""}', 422, "invalid_request"),
        ('{"to": "7033009600", "text": " \\n\\t"}', 422, "invalid_request"),
        ('{"to": "7033009600", "text": "a", "txet": "b"}', 422, "invalid_request"),
        ('{"to": "7033009600", "text": "a", "message_id": "17"}', 422, "invalid_request"),
        ('{"to": "7033009600", "text": "a", "send_after": 1700000000}', 422, "invalid_request"),
        ('{"to": "7033009600", "text": "a", "send_after": "2026-11-22T18:00:00"}', 422, "invalid_request"),
        ('{"to": "7033009600", "text": "a\\u0000b"}', 422, "bad_characters"),
        ('{"to": "7033009600", "text": "a\\ud800"}', 422, "bad_characters"),
        ('{"to": "7033009600", "text": "a", "metadata": {"\\udfff": 1}}', 422, "bad_characters"),
        ('{"to": "\\u0000", "text": "a"}', 422, "bad_characters"),
        ('{"to": "7033009600", "text": "' + "a" * 300_000 + '"}', 413, "too_large"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused_with_a_code(
    sqlite_client: FlaskClient, body: str | bytes, status: int, code: str
) -> None:
    answer = send(sqlite_client, body)

    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert answers.Problem.model_validate(answer.json).status == status


@pytest.mark.parametrize(
    ("size", "status"), [(LARGEST_BODY_BYTES - 1, 422), (LARGEST_BODY_BYTES, 422), (LARGEST_BODY_BYTES + 1, 413)]
)
def test_a_body_in_chunks_has_the_same_limit(sqlite_client: FlaskClient, size: int, status: int) -> None:
    body = b'{"to": "7033009600", "text": "' + b"a" * (size - 32) + b'"}'
    assert len(body) == size

    answer = sqlite_client.post(
        "/api/messages",
        input_stream=io.BytesIO(body),
        headers=AUTHORIZED | JSON | {"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert answer.status_code == status
    assert answer.json["code"] == ("too_large" if status == 413 else "invalid_request")


def test_a_message_that_has_expired_before_it_came_is_refused(sqlite_client: FlaskClient) -> None:
    answer = send(sqlite_client, '{"to": "7033009600", "text": "a", "expires_at": "2020-01-01T00:00:00Z"}')

    assert (answer.status_code, answer.json["code"]) == (422, "expired")
    assert "has passed" in answer.json["detail"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
def test_anything_but_json_is_refused_as_such(sqlite_client: FlaskClient, content_type: str) -> None:
    answer = send(sqlite_client, '{"to": "7033009600", "text": "a"}', **{"Content-Type": content_type})

    assert (answer.status_code, answer.json["code"]) == (415, "wrong_content_type")


def test_a_compressed_body_is_refused_as_such(sqlite_client: FlaskClient) -> None:
    answer = send(sqlite_client, b"\x1f\x8b", **{"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json["code"]) == (415, "wrong_content_type")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "unknown_route"),
        ("GET", "/api/nothing", 404, "unknown_route"),
        ("GET", "/api/messages/%00", 422, "bad_message_id"),
        ("GET", "/api/messages/17", 422, "bad_message_id"),
        ("GET", "/api/messages/019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7", 422, "bad_message_id"),
        ("DELETE", "/api/messages", 405, "method_not_allowed"),
        ("POST", "/api/whatsapp/status", 405, "method_not_allowed"),
        ("PUT", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_a_wrong_address_or_method_is_a_problem_too(
    sqlite_client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    answer = sqlite_client.open(path, method=method, headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert status != 405 or answer.headers["Allow"]


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_anything = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
_likely = st.sampled_from(
    ["7033009600", "Hello", "https://example.com/a.png", "2026-11-22T18:00:00+05:30", "IN", "bulk", "default", "hold"]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.sampled_from(sorted(SendRequest.model_fields)), _anything | _likely, max_size=6))
def test_no_object_makes_the_server_stumble(sqlite_client: FlaskClient, body: dict[str, Any]) -> None:
    answer = send(sqlite_client, json.dumps({"to": "7033009600", "text": "Hello"} | body))

    assert answer.status_code in {200, 202, 400, 409, 422}, answer.text
    assert answer.status_code < 300 or answers.Problem.model_validate(answer.json).code


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=64) | st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_make_the_server_stumble(sqlite_client: FlaskClient, body: bytes) -> None:
    assert send(sqlite_client, body).status_code in {400, 422}


def test_a_placeholder_without_a_value_refuses_the_message_and_names_it(sqlite_client: FlaskClient) -> None:
    lacking = {"to": "7033009600", "text": "Hello {{name}}, {{ bill }} is due", "values": {"name": "Asha"}}

    answer = send(sqlite_client, json.dumps(lacking))

    assert (answer.status_code, answer.json["code"]) == (422, "missing_value")
    assert "{{bill}}" in answer.json["detail"]
    assert "{{name}}" not in answer.json["detail"]
    assert "Asha" not in answer.json["detail"]
