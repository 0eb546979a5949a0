"""POST /webhooks/wasender/{channel}: only who knows the secret is heard, and what was heard is stored before 200."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import select, update
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from crm_bridge.web import answers, create_app, webhook_access
from crm_bridge.web.request_size import LARGEST_BODY_BYTES
from tests.gateway.strategies import bodies, json_values
from tests.gateway.test_webhooks_fuzz import far, near
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import snapshot, transaction
from worker.domain.evidence import Ack
from worker.domain.pace import Pace
from worker.domain.webhook_fact import SessionChanged, TickSeen
from worker.models import Channel, WebhookFact
from worker.outbox import webhook_facts
from worker.outbox.webhook_facts import TakenFact
from worker.parts import Parts

SECRET = "5f4dcc3b5aa765d61d8327deb882cf99"
OWN_SECRET = "7c6a180b36896a0a8c02787eeafb0e4c"
SESSION_KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TICK = {
    "event": "messages.update",
    "sessionId": SESSION_KEY,
    "timestamp": 1747775431467,
    "data": {"update": {"status": 2}, "key": {"remoteJid": "917033009600@s.whatsapp.net", "id": "3EB0"}},
}
SEEN = TickSeen(whatsapp_key_id="3EB0", whatsapp_jid="917033009600@s.whatsapp.net", ack=Ack.SERVER)
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def hear(
    client: FlaskClient, body: object = TICK, *, channel: str = "default", secret: str | None = SECRET
) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    shown = {} if secret is None else {"X-Webhook-Signature": secret}
    return client.post(
        f"/webhooks/wasender/{channel}", data=data, headers={"Content-Type": "application/json"} | shown
    )


def facts(parts: Parts) -> list[TakenFact]:
    with transaction(parts.engine) as connection:
        taken = list(webhook_facts.take_due(connection, LATER, 1000))
        webhook_facts.use_up(connection, [one.id for one in taken])
    return taken


def add_channel(parts: Parts, name: str, secret: str | None) -> int:
    sealed = parts.vault.seal(secret) if secret else None
    new = NewChannel(name=name, pace=Pace(1, 5), webhook_secret_encrypted=sealed)
    with transaction(parts.engine) as connection:
        return registry.add(connection, new, parts.clock())


def set_secret(parts: Parts, name: str, sealed: str | None) -> None:
    with transaction(parts.engine) as connection:
        connection.execute(update(Channel).where(Channel.name == name).values(webhook_secret_encrypted=sealed))


def refusal(answer: TestResponse) -> tuple[int, str]:
    problem = answers.Problem.model_validate(answer.json)
    assert answer.content_type == "application/problem+json"
    assert SECRET not in answer.text
    return problem.status, problem.code


def with_secret(parts: Parts) -> Parts:
    parts.settings.gateway_webhook_secret = SecretStr(SECRET)
    return parts


@pytest.fixture
def hearing(parts: Parts) -> FlaskClient:
    """A web application with the default channel's webhook secret, on each database in turn."""
    return create_app(with_secret(parts)).test_client()


@pytest.fixture
def sqlite_hearing(sqlite_parts: Parts) -> FlaskClient:
    return create_app(with_secret(sqlite_parts)).test_client()


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed secrets are noticed at once instead of within seconds."""
    monkeypatch.setattr(webhook_access, "TRUSTED_S", 0.0)
    monkeypatch.setattr(webhook_access, "RECHECK_S", 0.0)


# What is heard


def test_a_webhook_is_stored_without_its_credential_and_then_answered(hearing: FlaskClient, parts: Parts) -> None:
    before = parts.clock()

    answer = hear(hearing)

    assert (answer.status_code, answer.json) == (200, {"received": True})
    answers.Received.model_validate(answer.json)
    with snapshot(parts.engine) as connection:
        [row] = connection.execute(select(WebhookFact.__table__)).all()
        [channel] = connection.execute(select(Channel.__table__)).all()
    assert (row.channel_id, channel.name) == (channel.id, "default"), "made by the first webhook"
    assert SESSION_KEY not in str(row)
    assert row.received_at >= before
    assert channel.last_webhook_at == row.received_at
    assert [one.fact for one in facts(parts)] == [SEEN]


def test_what_one_webhook_says_twice_is_stored_once_and_a_repeated_webhook_is_taken(
    hearing: FlaskClient, parts: Parts
) -> None:
    twice = TICK | {"data": [TICK["data"], TICK["data"]]}

    assert hear(hearing, twice).status_code == 200
    assert len(facts(parts)) == 1
    assert [hear(hearing).status_code for _ in range(2)] == [200, 200]
    assert len(facts(parts)) == 2


def test_an_event_that_tells_nothing_is_answered_alike_and_shows_that_webhooks_come(
    hearing: FlaskClient, parts: Parts
) -> None:
    answer = hear(hearing, {"event": "qrcode.updated", "sessionId": SESSION_KEY, "data": {"qr": "2@abc"}})

    assert (answer.status_code, answer.json) == (200, {"received": True})
    assert facts(parts) == []
    with snapshot(parts.engine) as connection:
        assert connection.execute(select(Channel.last_webhook_at)).scalar_one() is not None


def test_each_channel_is_heard_under_its_own_secret(hearing: FlaskClient, parts: Parts) -> None:
    channel_id = add_channel(parts, "sales", OWN_SECRET)

    assert hear(hearing, channel="sales", secret=OWN_SECRET).status_code == 200
    assert [one.channel_id for one in facts(parts)] == [channel_id]
    assert refusal(hear(hearing, channel="sales", secret=SECRET)) == (401, "wrong_webhook_secret")
    assert refusal(hear(hearing, channel="default", secret=OWN_SECRET)) == (401, "wrong_webhook_secret")


def test_the_content_type_is_not_looked_at(sqlite_hearing: FlaskClient, sqlite_parts: Parts) -> None:
    answer = sqlite_hearing.post(
        "/webhooks/wasender/default", data=json.dumps(TICK), headers={"X-Webhook-Signature": SECRET}
    )

    assert answer.status_code == 200
    assert [one.fact for one in facts(sqlite_parts)] == [SEEN]


# Who is heard


@pytest.mark.parametrize(
    "shown", [None, "", " ", SECRET[:-1], SECRET + "0", SECRET.upper(), f"sha256={SECRET}", "\xe9\xff", "x" * 5000]
)
def test_without_the_secret_nobody_is_heard(
    sqlite_hearing: FlaskClient, sqlite_parts: Parts, shown: str | None
) -> None:
    assert refusal(hear(sqlite_hearing, secret=shown)) == (401, "wrong_webhook_secret")
    assert refusal(hear(sqlite_hearing, b"not even JSON", secret=shown)) == (401, "wrong_webhook_secret")
    assert facts(sqlite_parts) == []


@pytest.mark.parametrize("channel", ["sales", "Default", "default%00", "%F0%9F%98%80", "x" * 2000])
def test_a_channel_that_does_not_exist_is_answered_like_a_wrong_secret(
    sqlite_hearing: FlaskClient, channel: str
) -> None:
    wrong = hear(sqlite_hearing, secret="wrong")

    unknown = hear(sqlite_hearing, channel=channel)

    assert (unknown.status_code, unknown.json) == (wrong.status_code, wrong.json)
    assert dict(unknown.headers) == dict(wrong.headers)


@pytest.mark.parametrize("shown", [None, "", SECRET])
def test_without_a_configured_secret_webhooks_are_refused_and_it_is_said_what_to_set(
    sqlite_parts: Parts, shown: str | None
) -> None:
    client = create_app(sqlite_parts).test_client()

    answer = hear(client, secret=shown)

    assert refusal(answer) == (503, "webhook_secret_missing")
    assert "WASENDER_WEBHOOK_SECRET" in answer.json["detail"]
    assert facts(sqlite_parts) == []


def test_strangers_do_not_learn_which_channels_there_are_and_the_log_tells_whose_secret_is_amiss(
    sqlite_hearing: FlaskClient, sqlite_parts: Parts
) -> None:
    for name in ("sales", "lost"):
        add_channel(sqlite_parts, name, None)
    set_secret(sqlite_parts, "lost", "sealed with another key")
    add_channel(sqlite_parts, "shop", OWN_SECRET)

    with capture_logs() as logs:
        refused = [hear(sqlite_hearing, channel=name) for name in ("nope", "sales", "lost", "shop", "sales")]

    assert {refusal(answer) for answer in refused} == {(401, "wrong_webhook_secret")}
    assert len({(answer.text, str(answer.headers)) for answer in refused}) == 1
    told = [(entry["code"], entry["channel"]) for entry in logs if entry["event"] == "webhook_refused"]
    assert told == [
        ("wrong_webhook_secret", None),
        ("webhook_secret_missing", "sales"),
        ("webhook_secret_unusable", "lost"),
        ("wrong_webhook_secret", "shop"),
    ]
    assert facts(sqlite_parts) == []


@pytest.mark.usefixtures("quick_look")
def test_a_changed_secret_opens_and_the_former_one_no_longer_does(
    sqlite_hearing: FlaskClient, sqlite_parts: Parts
) -> None:
    add_channel(sqlite_parts, "sales", OWN_SECRET)
    assert hear(sqlite_hearing, channel="sales", secret=OWN_SECRET).status_code == 200

    set_secret(sqlite_parts, "sales", sqlite_parts.vault.seal("another"))
    assert hear(sqlite_hearing, channel="sales", secret="another").status_code == 200
    assert hear(sqlite_hearing, channel="sales", secret=OWN_SECRET).status_code == 401

    set_secret(sqlite_parts, "sales", "sealed with another key")
    assert refusal(hear(sqlite_hearing, channel="sales", secret="another")) == (401, "wrong_webhook_secret")
    set_secret(sqlite_parts, "sales", None)
    assert refusal(hear(sqlite_hearing, channel="sales", secret="another")) == (401, "wrong_webhook_secret")


@pytest.mark.usefixtures("quick_look")
def test_a_secret_of_the_default_channel_that_cannot_be_decrypted_is_told_to_whoever_delivers(
    sqlite_hearing: FlaskClient, sqlite_parts: Parts
) -> None:
    with transaction(sqlite_parts.engine) as connection:
        registry.ensure_default(connection, Pace(1, 5), sqlite_parts.clock())
    set_secret(sqlite_parts, "default", "sealed with another key")

    answer = hear(sqlite_hearing)

    assert refusal(answer) == (503, "webhook_secret_unusable")
    assert "TRUETICK_SECRET_KEY" in answer.json["detail"]


def test_a_former_secret_opens_for_less_than_half_a_minute() -> None:
    assert webhook_access.RECHECK_S <= webhook_access.TRUSTED_S <= 30


def test_a_default_channel_with_a_secret_of_its_own_does_not_open_by_the_environments(
    sqlite_hearing: FlaskClient, sqlite_parts: Parts
) -> None:
    with transaction(sqlite_parts.engine) as connection:
        registry.ensure_default(connection, Pace(1, 5), sqlite_parts.clock())
    set_secret(sqlite_parts, "default", sqlite_parts.vault.seal(OWN_SECRET))

    assert hear(sqlite_hearing, secret=OWN_SECRET).status_code == 200
    assert hear(sqlite_hearing, secret=SECRET).status_code == 401


# What is refused


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"event": NaN}', b"{}", b'{"event": 1}', b"[" * 200_000, b"1" * 200_000],
)
def test_what_is_no_webhook_is_a_400(sqlite_hearing: FlaskClient, body: bytes) -> None:
    assert refusal(hear(sqlite_hearing, body)) == (400, "bad_webhook")


@pytest.mark.parametrize(
    ("size", "status"), [(LARGEST_BODY_BYTES - 1, 200), (LARGEST_BODY_BYTES, 200), (LARGEST_BODY_BYTES + 1, 413)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_the_same_limit_in_chunks(
    sqlite_hearing: FlaskClient, size: int, status: int, chunked: bool
) -> None:
    body = b'{"event": "test", "data": "' + b"a" * (size - 29) + b'"}'
    assert len(body) == size
    if not chunked:
        assert hear(sqlite_hearing, body).status_code == status
        return
    answer = sqlite_hearing.post(
        "/webhooks/wasender/default",
        input_stream=io.BytesIO(body),
        headers={"X-Webhook-Signature": SECRET, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_webhook_is_posted(sqlite_hearing: FlaskClient, method: str) -> None:
    answer = sqlite_hearing.open("/webhooks/wasender/default", method=method, headers={"X-Webhook-Signature": SECRET})

    assert refusal(answer) == (405, "method_not_allowed")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | bodies | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_make_the_server_stumble(sqlite_hearing: FlaskClient, body: bytes) -> None:
    assert hear(sqlite_hearing, body).status_code in {200, 400}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event=st.sampled_from(
        ["messages.update", "message.sent", "messages.upsert", "messages.received", "session.status", "call"]
    ),
    status=json_values,
    key_id=json_values,
    text=json_values,
)
def test_no_event_makes_the_server_stumble(
    sqlite_hearing: FlaskClient, event: str, status: Any, key_id: Any, text: Any
) -> None:
    entry = {"key": {"id": key_id, "fromMe": True}, "messageBody": text}
    entry |= {"update": {"status": status}, "status": status}

    assert hear(sqlite_hearing, {"event": event, "data": entry}).status_code == 200


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(webhook=near | far)
def test_whatever_comes_either_database_can_keep_it(hearing: FlaskClient, webhook: dict[str, Any]) -> None:
    """There are characters that one of them takes and the other one does not."""
    assert hear(hearing, webhook).status_code in {200, 400}


def test_a_database_that_is_gone_is_a_503_so_that_the_webhook_is_repeated(build: Callable[..., Parts]) -> None:
    client = create_app(with_secret(build("postgresql://nobody@127.0.0.1:9/nothing"))).test_client()

    answer = hear(client)

    assert refusal(answer) == (503, "database_away")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_session_that_changed_is_stored_as_one_word(sqlite_hearing: FlaskClient, sqlite_parts: Parts) -> None:
    hear(sqlite_hearing, {"event": "session.status", "sessionId": SESSION_KEY, "data": {"status": "NEED_SCAN"}})

    assert [one.fact for one in facts(sqlite_parts)] == [SessionChanged(word="need_scan")]
