"""Keys that a person made: what each opens, how soon one opens or stops, and how they are replaced."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import delete, event, select
from werkzeug.test import TestResponse

from crm_bridge.web import create_app, known_keys, openapi
from tests.bridge.conftest import AUTHORIZED, keyed
from tests.bridge.test_trouble import frozen, postgres_pids
from tests.real_servers import Postgres, wait_until
from worker import access_tokens
from worker.access_tokens import Token
from worker.database import snapshot, transaction
from worker.domain.access import Scope, digest
from worker.domain.errors import InvalidRequest
from worker.models import AccessToken
from worker.parts import Parts

HELLO = {"to": "7033009600", "text": "Hello"}
NOTHING = "019aa7b2-6d4e-4f0a-9d55-1f3a4c5b6d7e"


def make(parts: Parts, name: str, *scopes: Scope, expires_in: timedelta | None = None) -> str:
    now = parts.clock()
    with transaction(parts.engine) as connection:
        return access_tokens.add(
            connection, name, frozenset(scopes), now=now, expires_at=now + expires_in if expires_in else None
        )


def rotate(parts: Parts, name: str, overlap: timedelta, **options: Any) -> str:
    with transaction(parts.engine) as connection:
        return access_tokens.rotate(connection, name, now=parts.clock(), overlap=overlap, **options)


def revoke(parts: Parts, name: str) -> None:
    with transaction(parts.engine) as connection:
        access_tokens.revoke(connection, name, now=parts.clock())


def token(parts: Parts, name: str) -> Token:
    with snapshot(parts.engine) as connection:
        return next(one for one in access_tokens.all_tokens(connection) if one.name == name)


def ask(
    client: FlaskClient, key: str, path: str = "/api/messages", method: str = "GET", **options: Any
) -> TestResponse:
    return client.open(path, method=method, headers={"Authorization": f"Bearer {key}"}, **options)


REQUESTS = [
    (Scope.SEND, "POST", "/api/messages", 202),
    (Scope.SEND, "POST", "/api/messages/bulk", 422),
    (Scope.SEND, "POST", "/api/media", 415),
    (Scope.SEND, "POST", "/api/whatsapp/test-message", 422),
    (Scope.READ, "GET", "/api/messages", 200),
    (Scope.READ, "GET", "/api/messages/changes", 200),
    (Scope.READ, "GET", f"/api/messages/{NOTHING}", 404),
    (Scope.READ, "GET", f"/api/messages/{NOTHING}/why", 404),
    (Scope.READ, "GET", "/api/channels", 200),
    (Scope.READ, "GET", "/api/whatsapp/status", 200),
    (Scope.READ, "GET", "/api/whatsapp/diagnostics", 200),
    (Scope.READ, "GET", "/api/whatsapp/troubleshoot", 200),
    (Scope.OPERATE, "POST", f"/api/messages/{NOTHING}/cancel", 404),
    (Scope.OPERATE, "POST", f"/api/messages/{NOTHING}/resend", 404),
    (Scope.OPERATE, "POST", "/api/channels/nowhere/pause", 404),
    (Scope.OPERATE, "POST", "/api/channels/nowhere/resume", 404),
    (Scope.OPERATE, "POST", "/api/channels/nowhere/reconnect", 404),
]


@pytest.mark.parametrize(("scope", "method", "path", "status"), REQUESTS)
def test_a_key_opens_what_its_scope_says_and_nothing_else(
    sqlite_client: FlaskClient, sqlite_parts: Parts, scope: Scope, method: str, path: str, status: int
) -> None:
    keys = {one: make(sqlite_parts, one.value, one) for one in Scope}
    body = {"json": HELLO} if method == "POST" else {}

    answers = {one: ask(sqlite_client, key, path, method, **body) for one, key in keys.items()}

    assert answers.pop(scope).status_code == status
    for answer in answers.values():
        assert (answer.status_code, answer.json["code"]) == (403, "missing_scope")
        assert f"scope {scope}" in answer.json["detail"]
        assert f'scope="{scope}"' in answer.headers["WWW-Authenticate"]


def test_every_closed_route_says_which_scope_it_needs(app: APIFlask) -> None:
    undescribed, reading = [], []
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/"):
            said = openapi.description_of(app.view_functions[rule.endpoint])
            if said is None or said.scope is None:
                undescribed.append(rule.rule)
            elif "POST" in (rule.methods or set()) and said.scope is Scope.READ:
                reading.append(rule.rule)

    assert undescribed == []
    assert reading == [], "what changes something needs more than the scope read"


def test_of_a_key_only_its_digest_is_kept(client: FlaskClient, parts: Parts) -> None:
    key = make(parts, "crm", Scope.READ)

    assert len(key) == 46
    assert key.startswith("tt_")
    with snapshot(parts.engine) as connection:
        (row,) = connection.execute(select(AccessToken.__table__)).all()
    assert row.digest == digest(key)
    assert key not in str(tuple(row))
    assert key.startswith(row.hint)
    assert len(row.hint) < 12


def test_a_new_key_opens_at_once_and_is_asked_for_only_now_and_then(client: FlaskClient, parts: Parts) -> None:
    asked: list[str] = []

    @event.listens_for(parts.engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM access_tokens" in statement:
            asked.append(statement)

    assert ask(client, "tt_" + "x" * 43).status_code == 401
    key = make(parts, "crm", Scope.READ)
    assert ask(client, key).status_code == 200

    asked.clear()
    assert [ask(client, key).status_code for _ in range(5)] == [200] * 5
    assert asked == []
    assert ask(client, "no-key-of-ours").json["code"] == "wrong_api_key"
    assert asked == [], "what does not look like a key of ours is not asked for"


def test_a_revoked_key_stops_within_ten_seconds(
    client: FlaskClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert known_keys.TRUSTED_S <= 10
    monkeypatch.setattr(known_keys, "TRUSTED_S", 0.2)
    key = make(parts, "crm", Scope.READ)
    assert ask(client, key).status_code == 200

    revoke(parts, "crm")

    wait_until(lambda: ask(client, key).status_code == 401, within_s=5, what="the end of the key")
    answer = ask(client, key)
    assert answer.json["code"] == "revoked_api_key"
    assert "truetick tokens add" in answer.json["detail"]


def test_no_key_is_made_that_has_expired_already(parts: Parts) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make(parts, "crm", Scope.READ, expires_in=timedelta(seconds=-1))
    assert refused.value.code == "token_expired"
    assert make(parts, "crm", Scope.READ, expires_in=timedelta(minutes=1)), "its name is not taken"


def test_an_expired_key_says_so(client: FlaskClient, parts: Parts) -> None:
    key = make(parts, "crm", Scope.READ, expires_in=timedelta(hours=1))
    later = replace(parts, clock=lambda: parts.clock() + timedelta(hours=2))

    assert ask(client, key).status_code == 200
    answer = ask(create_app(later).test_client(), key)

    assert (answer.status_code, answer.json["code"]) == (401, "expired_api_key")


def test_a_key_that_expires_while_it_is_remembered_stops_in_time(client: FlaskClient, parts: Parts) -> None:
    key = make(parts, "crm", Scope.READ, expires_in=timedelta(seconds=1))
    assert ask(client, key).status_code == 200

    wait_until(lambda: ask(client, key).status_code == 401, within_s=3, what="the end of the key")


def test_after_a_rotation_both_keys_open_until_the_overlap_is_over(client: FlaskClient, parts: Parts) -> None:
    first = make(parts, "crm", Scope.READ)
    second = rotate(parts, "crm", timedelta(hours=24))
    later = create_app(replace(parts, clock=lambda: parts.clock() + timedelta(hours=25))).test_client()

    assert [ask(client, key).status_code for key in (first, second)] == [200, 200]
    assert ask(later, first).json["code"] == "expired_api_key"
    assert ask(later, second).status_code == 200

    third = rotate(parts, "crm", timedelta(0))
    fresh = create_app(parts).test_client()
    assert [ask(fresh, key).status_code for key in (first, second, third)] == [401, 401, 200]


def test_a_rotated_key_ends_no_later_than_its_token_would_have(parts: Parts) -> None:
    make(parts, "crm", Scope.READ, expires_in=timedelta(hours=1))
    ends_at = token(parts, "crm").expires_at

    rotate(parts, "crm", timedelta(hours=24))
    assert token(parts, "crm").former_until == ends_at == token(parts, "crm").expires_at

    rotate(parts, "crm", timedelta(hours=24), expires_at=parts.clock() + timedelta(days=90))
    assert token(parts, "crm").former_until == ends_at != token(parts, "crm").expires_at


def test_keys_of_the_environment_open_everything_and_need_no_database(
    postgres: Postgres, postgres_url: str, build: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "DATABASE_WAIT_S", 0.3)
    parts = keyed(build(postgres_url))
    made = make(parts, "crm", Scope.SEND)
    client = create_app(parts).test_client()

    with frozen(*postgres_pids(postgres_url)):
        begun = time.monotonic()
        answer = client.post("/api/messages", data="{", headers=AUTHORIZED | {"Content-Type": "application/json"})
        assert (answer.status_code, answer.json["code"]) == (400, "bad_json")
        assert time.monotonic() - begun < 1
        assert ask(client, made, method="POST", json=HELLO).json["code"] == "database_away"


def test_the_api_opens_with_a_made_key_alone(sqlite_url: str, build: Callable[..., Parts]) -> None:
    parts = build(sqlite_url)
    client = create_app(parts).test_client()
    assert client.get("/api/messages").json["code"] == "no_api_key_configured"

    key = make(parts, "crm", Scope.READ)

    assert ask(client, key).status_code == 200
    assert client.get("/api/messages").json["code"] == "no_api_key"


def test_use_is_noted_once_a_minute_and_never_stands_in_the_way(client: FlaskClient, parts: Parts) -> None:
    key = make(parts, "crm", Scope.READ)
    assert token(parts, "crm").last_used_at is None

    ask(client, key)
    wait_until(lambda: token(parts, "crm").last_used_at is not None, within_s=5, what="the note")
    noted = token(parts, "crm").last_used_at
    for _ in range(5):
        ask(client, key)
    assert token(parts, "crm").last_used_at == noted

    with transaction(parts.engine) as connection:
        connection.execute(delete(AccessToken))
    assert ask(client, key).status_code == 200, "it is trusted for a few seconds"
