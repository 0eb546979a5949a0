"""A worker on a database that is missing or has no tables says in one line what to run, and goes on afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import API_KEY, SECRET_KEY
from tests.live_stack import LiveStack
from tests.real_servers import Postgres, Valkey, wait_until
from wasender_sandbox.control import Sandbox
from worker import migrate


@contextmanager
def _unmigrated(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'var' / 'truetick.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        with server.database(migrated=False) as url:
            yield url


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_without_tables_says_what_to_run_and_takes_its_tasks_once_they_are_there(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, broker: Valkey, sandbox: Sandbox
) -> None:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    with _unmigrated(kind, tmp_path, request) as url:
        environment = {
            "DATABASE_URL": url,
            "CELERY_BROKER_URL": broker.url,
            "TRUETICK_VAR_DIR": str(tmp_path / "var"),
            "TRUETICK_SECRET_KEY": SECRET_KEY,
            "WASENDER_BASE_URL": sandbox.api_url,
            "WASENDER_API_KEY": API_KEY,
            "TRUETICK_PACE": "200/1",
            "TRUETICK_CHECK_INTERVAL_S": "1",
            "TRUETICK_SWEEP_INTERVAL_S": "0.5",
        }
        with LiveStack(tmp_path, environment) as stack:
            stack.worker("worker")
            stack.until_ready("worker")
            stack.send(to="7033009600", text="Hello")
            stack.crm.send_task("truetick.drain", queue="truetick.drain")
            # The start, the three periodic tasks, the drain and the intake.
            wait_until(lambda: stack.log("worker").count("truetick db upgrade") >= 6, within_s=20, what="the advice")
            assert "Traceback" not in stack.log("worker")
            assert "raised unexpected" not in stack.log("worker")
            code = "no_database" if kind == "sqlite" else "database_not_migrated"
            assert stack.log("worker").count(code) >= 6
            assert kind != "sqlite" or not (tmp_path / "var" / "truetick.db").exists()

            migrate.upgrade(url)
            stack.beat()
            wait_until(
                lambda: [entry.text for entry in sandbox.ledger()] == ["Hello"], within_s=30, what="the message"
            )
