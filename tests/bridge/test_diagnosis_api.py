"""Diagnostics, troubleshooting and test messages, as the frontend of a CRM calls them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from crm_bridge.web import create_app, diagnosis_answers, diagnosis_desk
from tests.bridge.conftest import AUTHORIZED, keyed
from tests.conftest import API_KEY
from tests.drain.scene import Crm, never_idle
from wasender_sandbox.control import Sandbox
from worker import health
from worker.diagnosis import broker_line, diagnoser
from worker.parts import Parts

DIAGNOSTICS, TROUBLESHOOT, TEST = (
    f"/api/whatsapp/{name}" for name in ("diagnostics", "troubleshoot", "test-message")
)
NUMBER = {"phone_number": "917033009600"}


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none, so nobody needs to wait for answers through it."""
    monkeypatch.setattr(broker_line, "REPLY_S", 0.1)


@pytest.fixture
def parts(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    sandbox.switch("ack_after_s", 0)
    sandbox.switch("delivered_after_s", 0.1)
    return keyed(build(sqlite_url, TRUETICK_RECONCILE_INTERVAL_S=0.05, TRUETICK_DRAIN_RUN_S=0.2))


@pytest.fixture
def client(parts: Parts) -> FlaskClient:
    return create_app(parts).test_client()


@pytest.fixture
def at_work(parts: Parts, sandbox: Sandbox) -> Iterator[None]:
    Crm(parts, sandbox).channels("default")
    with never_idle(parts):
        yield


def get(client: FlaskClient, path: str) -> Any:
    answer = client.get(path, headers=AUTHORIZED)
    assert answer.status_code == 200, answer.text
    return answer.json


def post(client: FlaskClient, **body: Any) -> Any:
    return client.post(TEST, json=body, headers=AUTHORIZED)


def test_diagnostics_keep_to_their_shape_and_to_the_seeds_order(client: FlaskClient, parts: Parts) -> None:
    health.check_channels(parts)

    told = diagnosis_answers.Diagnostics.model_validate(get(client, DIAGNOSTICS))

    order = list(dict.fromkeys(check.check for check in told.checks))
    assert order[:5] == ["api_reachable", "api_key", "access_token", "session_connected", "sending_proven"]
    assert {"number_format", "webhooks", "message_logging", "limits", "clock"} <= set(order)
    assert {"queue", "workers", "beat", "database", "backlog"} <= set(order)
    assert not told.proven, "nothing was ticked yet"
    assert API_KEY not in str(told)


def test_troubleshooting_keeps_to_its_shape_and_gives_the_guide_when_asked(client: FlaskClient) -> None:
    told = diagnosis_answers.Troubleshooting.model_validate(get(client, TROUBLESHOOT))
    assert told.problems
    assert told.guide == []
    assert len(diagnosis_answers.Troubleshooting.model_validate(get(client, f"{TROUBLESHOOT}?guide=true")).guide) > 20


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?channel=nowhere", 404, "unknown_channel"),
        ("?channel=No%20Name", 422, "bad_parameter"),
        ("?proof_hours=-1", 422, "bad_parameter"),
        ("?verbose=1", 422, "unknown_parameter"),
    ],
)
def test_wrong_parameters_are_refused(client: FlaskClient, parts: Parts, query: str, status: int, code: str) -> None:
    health.check_channels(parts)
    answer = client.get(DIAGNOSTICS + query, headers=AUTHORIZED)
    assert answer.content_type == "application/problem+json"
    assert (answer.status_code, answer.json["code"]) == (status, code)  # type: ignore[index]


def test_a_machine_that_is_too_slow_for_a_diagnosis_is_503(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnoser, "LONGEST_S", 0.0)

    for path in (DIAGNOSTICS, TROUBLESHOOT):
        answer = client.get(path, headers=AUTHORIZED)
        assert (answer.status_code, answer.json["code"]) == (503, "diagnosis_took_too_long")  # type: ignore[index]


def test_diagnostics_answer_where_there_is_no_database(build: Callable[..., Parts], tmp_path: Any) -> None:
    client = create_app(keyed(build(f"sqlite:///{tmp_path}/nowhere.db"))).test_client()

    told = get(client, DIAGNOSTICS)

    assert {check["check"]: check["code"] for check in told["checks"]}["database"] == "no_database"


def test_nobody_without_a_key_is_told_anything(client: FlaskClient) -> None:
    for answer in (client.get(DIAGNOSTICS), client.get(TROUBLESHOOT), client.post(TEST, json=NUMBER)):
        assert answer.status_code == 401


def test_a_test_message_is_proven_by_its_tick(client: FlaskClient, at_work: None, sandbox: Sandbox) -> None:
    answer = post(client, **NUMBER)

    assert answer.status_code == 200
    told = diagnosis_answers.TestResult.model_validate(answer.json)
    assert told.proven
    assert [stage.stage for stage in told.stages if stage.reached][:5] == [
        *("understood", "stored", "claimed", "accepted", "ticked"),
    ]
    [entry] = sandbox.ledger(acked=True)
    assert entry.recipient == "+917033009600"
    assert get(client, DIAGNOSTICS)["channels"][0]["verdict"] == "ok"


def test_a_test_message_that_is_swallowed_is_not_called_sent(
    client: FlaskClient, at_work: None, sandbox: Sandbox
) -> None:
    sandbox.mute("default")

    told = post(client, **NUMBER, timeout_s=4).json

    assert (told["proven"], told["status"], told["stands_at"]) == (False, "pending", "accepted")
    assert told["because"]
    assert told["action"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"phone_number": "12"}, 422, "too_short"),
        ({}, 422, "invalid_request"),
        ({"phone_number": 917033009600}, 422, "invalid_request"),
        (NUMBER | {"timeout_s": 61}, 422, "invalid_request"),
        (NUMBER | {"channel": "nowhere"}, 422, "unknown_channel"),
        (NUMBER | {"surprise": "me"}, 422, "invalid_request"),
        (NUMBER | {"text": "x" * 40_000}, 413, "too_large"),
    ],
)
def test_what_cannot_be_tested_is_refused(client: FlaskClient, body: Any, status: int, code: str) -> None:
    answer = client.post(TEST, json=body, headers=AUTHORIZED)
    assert (answer.status_code, answer.json["code"]) == (status, code)  # type: ignore[index]


def test_the_same_key_follows_the_same_message_and_another_body_under_it_is_a_conflict(client: FlaskClient) -> None:
    first = post(client, **NUMBER, timeout_s=1, idempotency_key="once").json
    second = post(client, **NUMBER, timeout_s=1, idempotency_key="once").json
    third = post(client, **NUMBER, timeout_s=1, idempotency_key="once", text="another")

    assert first["message_id"] == second["message_id"]
    assert (third.status_code, third.json["code"]) == (409, "conflict")


def test_only_a_few_test_messages_are_followed_at_a_time(parts: Parts) -> None:
    app = create_app(parts)
    with ThreadPoolExecutor(diagnosis_desk.MOST_TESTS) as askers:
        followed = [
            askers.submit(lambda: post(app.test_client(), **NUMBER, timeout_s=2.5))
            for _ in range(diagnosis_desk.MOST_TESTS)
        ]
        time.sleep(0.5)  # they are under way; there is nothing to see it by
        refused = post(app.test_client(), **NUMBER, timeout_s=1)
        assert [one.result().status_code for one in followed] == [200] * diagnosis_desk.MOST_TESTS
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_test_messages")
    assert refused.headers["Retry-After"]


def test_in_the_description_the_routes_stand_together_under_one_name(client: FlaskClient) -> None:
    described = client.get("/openapi.json").json["paths"]  # type: ignore[index]

    tags = [
        operation["tags"] for path, said in described.items() if "/whatsapp/" in path for operation in said.values()
    ]
    assert tags == [["Whatsapp"]] * 4
