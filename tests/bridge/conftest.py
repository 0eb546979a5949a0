"""The web application as a caller sees it: in this process for what it answers, as a real server for how it lasts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from apiflask import APIFlask
from flask.testing import FlaskClient
from pydantic import SecretStr

from crm_bridge.web import create_app
from tests import programs
from tests.real_servers import Valkey, wait_until
from worker.parts import Parts
from worker.stack.ports import free_port

KEY = "a-key-for-the-crm"
OTHER_KEY = "a-second-key-while-the-first-is-replaced"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


def keyed(parts: Parts) -> Parts:
    """These parts with API keys configured."""
    parts.settings.api_keys = (SecretStr(KEY), SecretStr(OTHER_KEY))
    return parts


@pytest.fixture
def app(parts: Parts) -> APIFlask:
    """The application, on each database in turn."""
    return create_app(keyed(parts))


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def sqlite_parts(sqlite_url: str, build: Callable[..., Parts]) -> Parts:
    return keyed(build(sqlite_url))


@pytest.fixture
def sqlite_client(sqlite_parts: Parts) -> FlaskClient:
    """Where the database makes no difference, one is enough."""
    return create_app(sqlite_parts).test_client()


class WebServer:
    """`truetick web` as a process of its own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "web.log"
        self._process = programs.warm(
            *("truetick", "web", "--port", str(self.port)),
            environment={
                "PATH": "/usr/bin:/bin",
                "TRUETICK_API_KEYS": KEY,
                "TRUETICK_VAR_DIR": str(folder),
                **environment,
            },
            output=self.log,
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", headers=AUTHORIZED, timeout=30, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port}{path}", headers=AUTHORIZED, timeout=30, **options)

    def answers(self) -> bool:
        try:
            return self.get("/healthz").ok
        except requests.ConnectionError:
            assert self._process.poll() is None, self.log.read_text()
            return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)


@pytest.fixture
def web_server(tmp_path: Path, broker: Valkey) -> Iterator[Callable[..., WebServer]]:
    """Starts the web server on a database (its address) and this test's broker, with more settings if need be."""
    started: list[WebServer] = []

    def start(database_url: str, **more: str) -> WebServer:
        server = WebServer({"DATABASE_URL": database_url, "CELERY_BROKER_URL": broker.url, **more}, tmp_path)
        started.append(server)
        wait_until(server.answers, within_s=30, what="the web server's first answer")
        return server

    yield start
    for server in started:
        server.stop()
