"""The blueprint in a CRM that is a Flask application of its own: mounted, closed by default, and a good guest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, redirect

from crm_bridge.flask_blueprint import whatsapp_blueprint
from tests.conftest import API_KEY, SECRET_KEY
from tests.live_stack import ROOT
from wasender_sandbox.control import Sandbox
from worker import health
from worker.diagnosis import broker_line
from worker.parts import Parts

PATHS = ("/api/whatsapp/status", "/api/whatsapp/diagnostics", "/api/whatsapp/troubleshoot")


@pytest.fixture
def parts(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setattr(broker_line, "REPLY_S", 0.1)
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    parts = build(sqlite_url)
    health.check_channels(parts)
    return parts


def crm(parts: Parts, **options: Any) -> Flask:
    """A plain Flask CRM with a page and error pages of its own."""
    app = Flask("crm")

    @app.get("/")
    def home() -> str:
        return "the CRM"

    @app.errorhandler(404)
    def not_found(_: object) -> tuple[str, int]:
        return "the CRM knows no such page", 404

    app.register_blueprint(whatsapp_blueprint(parts=parts, **options))
    return app


def test_it_answers_whoever_the_crm_lets_in(parts: Parts) -> None:
    asked: list[str] = []

    def authorize(scope: str) -> bool:
        asked.append(scope)
        return True

    client = crm(parts, authorize=authorize).test_client()

    status, diagnostics, troubleshoot = (client.get(path) for path in PATHS)
    tested = client.post("/api/whatsapp/test-message", json={"phone_number": "917033009600", "timeout_s": 1})

    assert [answer.status_code for answer in (status, diagnostics, troubleshoot, tested)] == [200] * 4
    assert status.json["channels"][0]["state"] == "up"  # type: ignore[index]
    assert tested.json["stands_at"] == "stored"  # type: ignore[index]
    assert asked == ["read", "read", "read", "send"]
    assert status.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("authorize", [None, lambda _: False, lambda _: None, lambda _: ("redirected", 302)])
def test_it_is_closed_to_everybody_else(parts: Parts, authorize: Any) -> None:
    client = crm(parts, authorize=authorize).test_client()

    answers = [client.get(path) for path in PATHS]
    answers.append(client.post("/api/whatsapp/test-message", json={"phone_number": "917033009600"}))

    assert {answer.status_code for answer in answers} == {403}
    assert {answer.content_type for answer in answers} == {"application/problem+json"}


def test_the_crms_own_login_page_may_be_the_answer(parts: Parts) -> None:
    client = crm(parts, authorize=lambda _: redirect("/login")).test_client()

    answer = client.get(PATHS[0])

    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


def test_its_errors_are_problems_and_the_crms_pages_stay_its_own(parts: Parts) -> None:
    client = crm(parts, authorize=lambda _: True).test_client()

    refused = client.post("/api/whatsapp/test-message", json={"phone_number": "12"})
    not_json = client.post("/api/whatsapp/test-message", data="phone_number=12")

    assert (refused.status_code, refused.json["code"]) == (422, "too_short")  # type: ignore[index]
    assert (not_json.status_code, not_json.content_type) == (415, "application/problem+json")
    assert client.get("/").text == "the CRM"
    assert client.get("/nowhere").text == "the CRM knows no such page"


def test_a_database_that_is_away_is_a_problem_and_no_traceback(build: Callable[..., Parts], tmp_path: Any) -> None:
    client = crm(build(f"sqlite:///{tmp_path}/nowhere.db"), authorize=lambda _: True).test_client()

    answer = client.get(PATHS[0])

    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert client.get(PATHS[1]).status_code == 200, "the diagnosis is there for just that"


def test_it_brings_no_celery_app_into_the_crms_process() -> None:
    """A CRM has its own, whose tasks, signals and logging must stay its own."""
    program = (
        "import sys, celery\n"
        "mine = celery.Celery('crm')\n"
        "from crm_bridge.flask_blueprint import whatsapp_blueprint\n"
        "whatsapp_blueprint(authorize=lambda _: True)\n"
        "assert 'worker.celery_app' not in sys.modules\n"
        "assert celery.current_app._get_current_object() is mine\n"
        "from celery import signals\n"
        "assert not signals.setup_logging.receivers and not signals.celeryd_init.receivers\n"
        "import logging\n"
        "assert not logging.getLogger().handlers\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_without_parts_it_takes_the_environments(
    parts: Parts, sqlite_url: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """As the CRM's own process does it, asked for real."""
    program = (
        "import json\n"
        "from flask import Flask\n"
        "from crm_bridge.flask_blueprint import whatsapp_blueprint\n"
        "app = Flask('crm')\n"
        "app.register_blueprint(whatsapp_blueprint(authorize=lambda _: True))\n"
        "client = app.test_client()\n"
        f"print(json.dumps([[answer.status_code, answer.json] for answer in map(client.get, {PATHS!r})]))\n"
    )
    environment = {
        **{"PATH": os.environ["PATH"], "DATABASE_URL": sqlite_url, "CELERY_BROKER_URL": "redis://127.0.0.1:9/0"},
        **{"TRUETICK_VAR_DIR": str(tmp_path / "var"), "TRUETICK_SECRET_KEY": SECRET_KEY},
        **{"WASENDER_BASE_URL": sandbox.api_url, "WASENDER_API_KEY": API_KEY},
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    (status, told), *others = json.loads(done.stdout)
    assert (status, told["channels"][0]["name"], told["channels"][0]["state"]) == (200, "default", "up")
    assert [status for status, _ in others] == [200, 200]
