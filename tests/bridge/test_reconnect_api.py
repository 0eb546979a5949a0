"""`POST /api/channels/{name}/reconnect`: a frontend shows the code, and nothing else keeps it."""

import threading
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from crm_bridge.web import create_app, reconnect_routes
from crm_bridge.web.bounded import Bounded, NoPlace
from crm_bridge.web.reconnect_routes import LatestCodes, Reconnecting
from tests.bridge.conftest import AUTHORIZED, keyed
from tests.channels.test_reconnecting import TOKEN
from tests.conftest import API_KEY
from wasender_sandbox.control import Sandbox
from worker.channels import registry
from worker.database import transaction
from worker.domain.linking import CODE_PAUSE_S
from worker.parts import Parts
from worker.reconnecting import Stage

PATH = "/api/channels/default/reconnect"


@pytest.fixture
def build_client(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Callable[..., FlaskClient]:
    sandbox.create_channel("default", api_key=API_KEY)

    def make(**options: object) -> FlaskClient:
        parts = keyed(build(sqlite_url, **({"WASENDER_PERSONAL_ACCESS_TOKEN": TOKEN} | options)))
        with transaction(parts.engine) as connection:
            registry.ensure_default(connection, parts.settings.pace, parts.clock())
        return create_app(parts).test_client()

    return make


def test_a_lost_session_answers_with_the_code_to_draw(
    build_client: Callable[..., FlaskClient], sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.set_status("default", "logged_out")
    answer = build_client().post(PATH, headers=AUTHORIZED)

    assert answer.status_code == 200
    told = Reconnecting.model_validate(answer.json)
    assert (told.channel, told.state) == ("default", "need_scan")
    assert told.qr_code is not None
    assert told.qr_code.startswith("2@")
    assert told.expires_at is not None
    assert answer.headers["Cache-Control"] == "no-store"
    assert told.qr_code not in caplog.text


def test_a_connected_session_needs_no_code(build_client: Callable[..., FlaskClient]) -> None:
    answer = build_client().post(PATH, headers=AUTHORIZED)
    assert (answer.json["state"], answer.json["qr_code"], answer.json["expires_at"]) == ("connected", None, None)


def test_who_asks_again_too_soon_gets_the_same_code(
    build_client: Callable[..., FlaskClient], sandbox: Sandbox
) -> None:
    sandbox.set_status("default", "logged_out")
    client = build_client()
    assert client.post(PATH, headers=AUTHORIZED).json == client.post(PATH, headers=AUTHORIZED).json


def test_a_code_is_kept_no_longer_than_that() -> None:
    seconds = [0.0]
    latest = LatestCodes(lambda: seconds[0])
    latest.keep("default", Stage(state="need_scan", advice=""))
    seconds[0] = CODE_PAUSE_S - 0.1
    assert latest.get("default") is not None
    assert latest.get("another") is None
    seconds[0] = CODE_PAUSE_S
    assert latest.get("default") is None


@pytest.mark.parametrize(
    ("options", "path", "status", "code"),
    [
        ({"WASENDER_PERSONAL_ACCESS_TOKEN": None}, PATH, 409, "no_access_token"),
        ({"WASENDER_API_KEY": "cd" * 32}, PATH, 409, "unknown_session"),
        ({"WASENDER_PERSONAL_ACCESS_TOKEN": "7|nobody-knows-this-token"}, PATH, 502, "bad_access_token"),
        ({"WASENDER_BASE_URL": "http://127.0.0.1:9/api"}, PATH, 502, "gateway_unreachable"),
        ({}, "/api/channels/nowhere/reconnect", 404, "unknown_channel"),
    ],
)
def test_what_stands_in_the_way_has_a_code_and_a_sentence(
    build_client: Callable[..., FlaskClient], options: dict[str, object], path: str, status: int, code: str
) -> None:
    answer = build_client(**options).post(path, headers=AUTHORIZED)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert len(answer.json["detail"]) > 20


def test_who_finds_all_places_taken_is_told_that_and_when_to_ask_again(
    build_client: Callable[..., FlaskClient], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnect_routes, "AT_ONCE", 0)
    answer = build_client().post(PATH, headers=AUTHORIZED)
    assert (answer.status_code, answer.json["code"]) == (503, "busy")
    assert int(answer.headers["Retry-After"]) > 0
    assert "within" not in answer.json["detail"]
    assert sandbox.requests() == []


def test_a_machine_without_a_thread_to_spare_keeps_the_place_free(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Bounded(most=1, wait_s=5)
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(NoPlace):
            calls.run(lambda: "never")
    assert calls.run(lambda: "answer") == "answer"


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_it_needs_a_key(build_client: Callable[..., FlaskClient]) -> None:
    assert build_client().post(PATH).status_code == 401


def test_it_is_described_with_the_scope_it_needs(build_client: Callable[..., FlaskClient]) -> None:
    described = build_client().get("/openapi.json").json["paths"]["/api/channels/{name}/reconnect"]["post"]
    assert list(described["security"][0].values()) == [["operate"]]
    assert {"200", "404", "409", "502", "503"} <= set(described["responses"])
