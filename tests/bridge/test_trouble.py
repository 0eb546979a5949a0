"""When the database or the broker is away, frozen or unmigrated: told within two seconds, and no message refused
that could be stored."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from crm_bridge.web import create_app
from crm_bridge.web.bounded import Bounded, TookTooLong
from tests.bridge.conftest import AUTHORIZED, WebServer, keyed
from tests.real_servers import Postgres, Valkey, wait_until
from worker.parts import Parts

HELLO = {"to": "7033009600", "text": "Hello"}
#: What is left of two seconds for the network, the threads and a busy machine.
SOON_S = 2.5


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """These processes stop where they are: they neither answer nor hang up."""
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # a connection that was just closed still had its process in the list
            os.kill(pid, number)


def postgres_pids(url: str) -> list[int]:
    engine = create_engine(url)
    with engine.connect() as connection:
        folder = connection.execute(text("SHOW data_directory")).scalar_one()
    engine.dispose()
    server = psutil.Process(int((Path(folder) / "postmaster.pid").read_text().split()[0]))
    return [server.pid, *(child.pid for child in server.children())]


def checks_of(answer: dict[str, object]) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in answer["checks"]}  # type: ignore[attr-defined]


def test_a_broker_that_freezes_or_dies_neither_fails_nor_delays_a_request(
    web_server: Callable[[str], WebServer], sqlite_url: str, broker: Valkey
) -> None:
    server = web_server(sqlite_url)
    assert server.get("/readyz").status_code == 200

    with frozen(broker.pid):
        begun = time.monotonic()
        stored = server.post("/api/messages", json=HELLO)
        assert stored.status_code == 202
        assert time.monotonic() - begun < 1.0
        begun = time.monotonic()
        ready = server.get("/readyz")
        assert time.monotonic() - begun < SOON_S
    assert ready.status_code == 503
    assert checks_of(ready.json()) == {"database": True, "broker": False}

    broker.kill()
    begun = time.monotonic()
    assert server.post("/api/messages", json=HELLO).status_code == 202
    assert time.monotonic() - begun < 1.0
    assert checks_of(server.get("/readyz").json()) == {"database": True, "broker": False}

    broker.start()
    assert server.get("/readyz").status_code == 200
    assert "7033009600" not in server.log.read_text()
    assert "Hello" not in server.log.read_text()


def test_a_broker_that_is_full_refuses_no_message(
    web_server: Callable[[str], WebServer], sqlite_url: str, broker: Valkey
) -> None:
    engine = create_engine(sqlite_url)
    server = web_server(sqlite_url)
    assert server.post("/api/messages", json=HELLO).status_code == 202
    with engine.begin() as connection:
        connection.execute(text("UPDATE channels SET state = 'up'"))
    engine.dispose()
    broker.client.config_set("maxmemory", 1)

    for _ in range(2):
        assert server.post("/api/messages", json=HELLO).status_code == 202
        wait_until(lambda: "wake_up_not_published" in server.log.read_text(), within_s=10, what="the lost wake-up")

    assert "Traceback" not in server.log.read_text()


def test_the_server_names_neither_its_version_nor_its_language(
    web_server: Callable[[str], WebServer], sqlite_url: str
) -> None:
    answer = web_server(sqlite_url).get("/healthz")

    assert not any(character.isdigit() for character in answer.headers.get("Server", ""))
    assert "X-Powered-By" not in answer.headers


def test_a_database_that_freezes_is_reported_within_two_seconds(
    postgres: Postgres, postgres_url: str, build: Callable[..., Parts]
) -> None:
    client = create_app(keyed(build(postgres_url))).test_client()
    assert checks_of(client.get("/readyz").json)["database"]

    with frozen(*postgres_pids(postgres_url)):
        begun = time.monotonic()
        ready = client.get("/readyz")
        assert time.monotonic() - begun < SOON_S
        assert not checks_of(ready.json)["database"]

    assert checks_of(client.get("/readyz").json)["database"]


def test_a_database_that_is_gone_is_a_503_that_says_when_to_ask_again(build: Callable[..., Parts]) -> None:
    client = create_app(keyed(build("postgresql://nobody@127.0.0.1:9/nothing"))).test_client()

    answer = client.post("/api/messages", json=HELLO, headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (503, "database_away")
    assert int(answer.headers["Retry-After"]) > 0
    assert not checks_of(client.get("/readyz").json)["database"]
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_without_tables_says_which_command_makes_them(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, build: Callable[..., Parts]
) -> None:
    if kind == "sqlite":
        client = _client(build, f"sqlite:///{tmp_path / 'empty.db'}")
        _refuses_for_want_of_tables(client)
        assert not (tmp_path / "empty.db").exists(), "an empty file would look like a database"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        with server.database(migrated=False) as url:
            _refuses_for_want_of_tables(_client(build, url))


def _client(build: Callable[..., Parts], url: str) -> FlaskClient:
    return create_app(keyed(build(url))).test_client()


def _refuses_for_want_of_tables(client: FlaskClient) -> None:
    answer = client.post("/api/messages", json=HELLO, headers=AUTHORIZED)
    assert (answer.status_code, answer.json["code"]) == (503, "database_not_migrated")
    assert "truetick db upgrade" in answer.json["detail"]
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "truetick db upgrade" in ready.json["detail"]


def test_an_error_nobody_thought_of_is_a_problem_that_gives_nothing_away(
    sqlite_parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(sqlite_parts)

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("the number is +917033009600")

    answer = app.test_client().get("/broken")

    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert "7033009600" not in answer.text + caplog.text


def test_a_call_that_hangs_keeps_its_place_and_lets_the_others_through() -> None:
    release = time.monotonic() + 0.6
    bounded = Bounded(most=2, wait_s=0.1, turn_wait_s=0.1)

    def hang() -> None:
        while time.monotonic() < release:
            time.sleep(0.01)

    with pytest.raises(TookTooLong):
        bounded.run(hang)
    assert bounded.run(lambda: "through") == "through"
    with pytest.raises(TookTooLong):
        bounded.run(hang)
    with pytest.raises(TookTooLong):
        bounded.run(lambda: "no place left")
