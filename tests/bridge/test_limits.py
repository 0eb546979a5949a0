"""How often and how much: limits on requests a minute, addresses, headers, and the idempotency key."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import event, func, select
from werkzeug.test import TestResponse

from crm_bridge.web import create_app
from crm_bridge.web.rates import address_of
from tests.bridge.conftest import AUTHORIZED, KEY, OTHER_KEY, keyed
from worker.database import snapshot
from worker.models import Message
from worker.parts import Parts

A_MINUTE = 5
HELLO = {"to": "7033009600", "text": "Hello"}


@pytest.fixture
def slow_parts(sqlite_url: str, build: Callable[..., Parts]) -> Parts:
    return keyed(build(sqlite_url, TRUETICK_REQUESTS_PER_MINUTE=A_MINUTE))


@pytest.fixture
def slow(slow_parts: Parts) -> FlaskClient:
    """Where five requests a minute are allowed."""
    return create_app(slow_parts).test_client()


def ask(client: FlaskClient, key: str = KEY, *, address: str = "192.0.2.1") -> TestResponse:
    return client.get(
        "/api/messages", headers={"Authorization": f"Bearer {key}"}, environ_overrides={"REMOTE_ADDR": address}
    )


def test_a_key_that_asks_too_often_has_to_wait_and_no_other_key_with_it(slow: FlaskClient) -> None:
    assert [ask(slow).status_code for _ in range(A_MINUTE)] == [200] * A_MINUTE

    refused = ask(slow)

    assert (refused.status_code, refused.json["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert "bulk" in refused.json["detail"]
    assert ask(slow, address="192.0.2.2").status_code == 429, "another address is the same key"
    assert ask(slow, OTHER_KEY).status_code == 200


def test_strangers_are_limited_by_address_and_keys_from_there_are_not(slow: FlaskClient, slow_parts: Parts) -> None:
    asked: list[str] = []

    @event.listens_for(slow_parts.engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    guess = "tt_" + "x" * 43
    assert [ask(slow, guess).status_code for _ in range(A_MINUTE)] == [401] * A_MINUTE
    asked.clear()

    assert ask(slow, guess).status_code == 429
    assert asked == [], "a flood costs no query"
    assert ask(slow, guess, address="192.0.2.2").status_code == 401
    assert ask(slow).status_code == 200


@pytest.mark.parametrize("proxies", [0, 1, 2])
def test_strangers_behind_proxies_are_told_apart_by_what_the_trusted_ones_say(
    sqlite_url: str, build: Callable[..., Parts], proxies: int
) -> None:
    parts = build(sqlite_url, TRUETICK_REQUESTS_PER_MINUTE=1, TRUETICK_TRUSTED_PROXIES=proxies)
    client = create_app(keyed(parts)).test_client()

    def code(said: str) -> int:
        proxy = {"REMOTE_ADDR": "10.0.0.1"}
        return client.get("/openapi.json", headers={"X-Forwarded-For": said}, environ_overrides=proxy).status_code

    assert code("203.0.113.9, 192.0.2.1, 198.51.100.1") == 200
    #: Another stranger, the first one, who says to be somebody else, and whoever came past the outer proxy.
    others = [code("192.0.2.2, 198.51.100.1"), code("6.6.6.6, 192.0.2.1, 198.51.100.1"), code("198.51.100.2")]
    assert others == {0: [429, 429, 429], 1: [429, 429, 200], 2: [200, 429, 200]}[proxies]


def test_pages_for_everybody_are_limited_by_address_but_signs_of_life_are_not(slow: FlaskClient) -> None:
    assert [slow.get("/openapi.json").status_code for _ in range(A_MINUTE)] == [200] * A_MINUTE
    assert slow.get("/docs").status_code == 429
    assert [slow.get("/healthz").status_code for _ in range(3 * A_MINUTE)] == [200] * 3 * A_MINUTE


def test_webhooks_with_the_secret_are_never_too_many_and_guesses_are(slow_parts: Parts) -> None:
    slow_parts.settings.gateway_webhook_secret = SecretStr("5f4dcc3b5aa765d61d8327deb882cf99")
    client = create_app(slow_parts).test_client()

    def hear(secret: str) -> int:
        body = {"event": "something.else", "data": {}}
        shown = {"X-Webhook-Signature": secret}
        return client.post("/webhooks/wasender/default", json=body, headers=shown).status_code

    assert [hear("5f4dcc3b5aa765d61d8327deb882cf99") for _ in range(3 * A_MINUTE)] == [200] * 3 * A_MINUTE
    assert [hear("a guess") for _ in range(A_MINUTE + 1)] == [401] * A_MINUTE + [429]
    assert hear("5f4dcc3b5aa765d61d8327deb882cf99") == 200


def test_refused_webhooks_are_counted_where_there_is_no_secret_to_guess_too(slow_parts: Parts) -> None:
    client = create_app(slow_parts).test_client()

    told = [client.post("/webhooks/wasender/default", json={}).status_code for _ in range(A_MINUTE + 1)]

    assert told == [503] * A_MINUTE + [429]


@pytest.mark.parametrize(
    ("remote", "who"),
    [
        ("192.0.2.1", "address:192.0.2.1"),
        ("::ffff:192.0.2.1", "address:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2::99", "address:2001:db8:1:2::/64"),
        ("", "address:unknown"),
        (None, "address:unknown"),
        ("unix:", "address:unknown"),
    ],
)
def test_who_an_address_stands_for(remote: str | None, who: str) -> None:
    assert address_of(remote) == who


def test_an_address_or_headers_without_end_are_refused_as_such(sqlite_client: FlaskClient) -> None:
    long_query = sqlite_client.get("/api/messages", query_string={"crm_ref": "x" * 4000}, headers=AUTHORIZED)
    long_header = sqlite_client.get("/api/messages", headers=AUTHORIZED | {"X-Anything": "x" * 17_000})

    assert (long_query.status_code, long_query.json["code"]) == (414, "address_too_long")
    assert (long_header.status_code, long_header.json["code"]) == (431, "headers_too_long")


def post(client: FlaskClient, body: dict[str, Any], key: str | None) -> TestResponse:
    header = {} if key is None else {"Idempotency-Key": key}
    return client.post("/api/messages", json=body, headers=AUTHORIZED | header)


def test_the_key_may_stand_in_the_header_with_or_without_quotes(client: FlaskClient, parts: Parts) -> None:
    answers = [
        post(client, HELLO, "bill-17"),
        post(client, HELLO, '"bill-17"'),
        post(client, HELLO | {"idempotency_key": "bill-17"}, None),
        post(client, HELLO | {"idempotency_key": "bill-17"}, "bill-17"),
        post(client, HELLO | {"idempotency_key": None}, "bill-17"),
    ]

    assert [answer.status_code for answer in answers] == [202, 200, 200, 200, 200]
    assert len({answer.json["id"] for answer in answers}) == 1
    other = post(client, HELLO | {"text": "Good bye"}, "bill-17")
    assert (other.status_code, other.json["code"]) == (409, "conflict")
    with snapshot(parts.engine) as connection:
        assert connection.execute(select(func.count()).select_from(Message)).scalar_one() == 1


@pytest.mark.parametrize(
    ("body_key", "header", "code"),
    [
        ("bill-17", "bill-18", "two_idempotency_keys"),
        (17, "17", "two_idempotency_keys"),
        (None, "", "bad_idempotency_key"),
        (None, '""', "bad_idempotency_key"),
        (None, "two words", "bad_idempotency_key"),
        (None, "k" * 201, "bad_idempotency_key"),
        (None, "schlüssel", "bad_idempotency_key"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(
    sqlite_client: FlaskClient, body_key: object, header: str, code: str
) -> None:
    answer = post(sqlite_client, HELLO | ({"idempotency_key": body_key} if body_key else {}), header)

    assert (answer.status_code, answer.json["code"]) == (422, code)


def test_twenty_posts_at_once_with_one_key_in_the_header_make_one_message(parts: Parts) -> None:
    app, together = create_app(keyed(parts)), threading.Barrier(20)
    got: list[TestResponse] = []

    def send() -> None:
        together.wait()
        got.append(post(app.test_client(), HELLO, "once"))

    senders = [threading.Thread(target=send) for _ in range(20)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert sorted(answer.status_code for answer in got) == [200] * 19 + [202]
    assert len({answer.json["id"] for answer in got}) == 1
