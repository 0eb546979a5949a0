"""Flower beside a real worker: it shows workers, queues and every CRM task by name, and never a number or a text."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests import programs
from tests.conftest import API_KEY, SECRET_KEY
from tests.live_stack import LiveStack
from tests.programs import Running
from tests.real_servers import Valkey, wait_until
from wasender_sandbox.control import Sandbox
from worker.database import open_engine, transaction
from worker.stack.ports import free_port

NUMBER = "7033009600"
SPELLED = "+91 70330 09600"
TEXT = "Your one-time code is 884422"
SECRETS = (NUMBER, SPELLED, "09600", "70330", TEXT, "884422", "bill-4711")
LOGIN = ("truetick", "a-password-for-flower")
BUSY = 8


class Watched(LiveStack):
    """A stack with Flower on loopback."""

    def flower(self, port: int) -> Running:
        login = f"--basic-auth={':'.join(LOGIN)}"
        return self._start(
            "flower", "celery", "-A", "worker", "flower", "--address=127.0.0.1", f"--port={port}", login
        )


class Flower:
    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self.everything_it_said = ""

    def get(self, path: str, **options: Any) -> Any:
        answer = requests.get(self._url + path, auth=LOGIN, timeout=20, **options)
        self.everything_it_said += answer.text
        answer.raise_for_status()
        return answer.json() if path.startswith("/api/") else answer.text

    def workers(self) -> Any:
        return self.get("/api/workers", params={"refresh": "true"})

    def answers(self) -> bool:
        try:
            return requests.get(f"{self._url}/healthcheck", timeout=5).ok
        except requests.ConnectionError:
            return False

    def is_closed(self) -> bool:
        return requests.get(f"{self._url}/api/tasks", timeout=5).status_code == 401


@pytest.fixture
def environment(tmp_path: Path, sqlite_url: str, broker: Valkey, sandbox: Sandbox) -> dict[str, str]:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return {
        "DATABASE_URL": sqlite_url,
        "CELERY_BROKER_URL": broker.url,
        "TRUETICK_VAR_DIR": str(tmp_path / "var"),
        "TRUETICK_SECRET_KEY": SECRET_KEY,
        "WASENDER_BASE_URL": sandbox.api_url,
        "WASENDER_API_KEY": API_KEY,
        "TRUETICK_PACE": "200/1",
    }


@pytest.fixture
def stack(tmp_path: Path, environment: dict[str, str]) -> Iterator[Watched]:
    with Watched(tmp_path, environment) as running:
        yield running


@contextmanager
def writes_held_up(url: str) -> Iterator[None]:
    """Nobody can write to the database: tasks stay with the worker, where `inspect` can see them."""
    engine = open_engine(url)
    with transaction(engine):
        yield
    engine.dispose()


def test_flower_shows_workers_queues_and_tasks_and_no_number_and_no_text(
    stack: Watched, sqlite_url: str, broker: Valkey
) -> None:
    port = free_port()
    stack.worker("w1")
    stack.flower(port)
    stack.until_ready("w1")
    flower = Flower(port)
    wait_until(flower.answers, within_s=30, what="Flower's first answer")
    wait_until(lambda: "w1@here" in flower.workers(), within_s=30, what="Flower's sight of the worker")

    with writes_held_up(sqlite_url):
        requested = {"text": TEXT, "crm_ref": "bill-4711", "metadata": {"for": SPELLED}}
        sent = [stack.send(to=SPELLED if odd % 2 else NUMBER, **requested) for odd in range(2 * BUSY)]
        sent.append(str(stack.crm.send_task("truetick.send_message", args=[NUMBER, TEXT]).id))
        inspected = wait_until(lambda: _held(stack), within_s=20, what="tasks in the worker's hands")
        shown = wait_until(lambda: _shown(flower, sent[:BUSY]), within_s=20, what="Flower's sight of the tasks")

    assert {task["name"] for task in shown.values()} == {"truetick.send_message"}
    assert all("***" in task["kwargs"] for task in shown.values())
    finished = wait_until(lambda: _finished(flower, sent), within_s=30, what="the end of all tasks")
    assert {finished[task]["state"] for task in sent} == {"SUCCESS"}
    queues = {queue["name"]: queue["messages"] for queue in flower.get("/api/queues/length")["active_queues"]}
    assert set(queues) == {"celery", "truetick.drain", "truetick.upkeep"}
    assert queues["celery"] == 0

    flower.workers()
    for page in ("/tasks", "/workers", "/worker/w1@here", f"/task/{sent[0]}", f"/api/task/info/{sent[0]}"):
        flower.get(page)
    assert flower.is_closed()
    for secret in SECRETS:
        assert secret not in flower.everything_it_said
        assert secret not in inspected
        assert secret not in stack.log("w1")
        assert secret not in stack.log("flower")


def test_flower_listens_on_this_machine_alone_unless_told_otherwise(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    port = free_port()
    # Where it listens is decided while the app is imported.
    with Watched(tmp_path, environment, programs.cold) as stack:
        flower = stack._start("flower", "celery", "-A", "worker", "flower", f"--port={port}")
        wait_until(Flower(port).answers, within_s=30, what="Flower's first answer")
        places = psutil.Process(flower.pid).net_connections()

    assert [place.laddr for place in places if place.status == "LISTEN"] == [("127.0.0.1", port)]


def _held(stack: Watched) -> str:
    """All that `inspect` tells of tasks, once the worker's threads are busy with ours."""
    inspect = stack.crm.control.inspect(timeout=2)
    active = inspect.active(safe=False) or {}
    ids = [task["id"] for task in active.get("w1@here", []) if task["name"] == "truetick.send_message"]
    return repr([active, inspect.reserved(), inspect.query_task(*ids), inspect.stats()]) if ids else ""


def _shown(flower: Flower, ids: list[str]) -> dict[str, Any]:
    tasks: dict[str, Any] = flower.get("/api/tasks")
    return {task: tasks[task] for task in ids} if set(ids) <= set(tasks) else {}


def _finished(flower: Flower, ids: list[str]) -> dict[str, Any]:
    tasks: dict[str, Any] = flower.get("/api/tasks")
    done = [task for task in ids if tasks.get(task, {}).get("state") in {"SUCCESS", "FAILURE"}]
    return tasks if len(done) == len(ids) else {}


def test_a_task_that_no_worker_understands_is_named_in_the_log_but_not_quoted(stack: Watched, broker: Valkey) -> None:
    stack.worker("w1")
    stack.until_ready("w1")

    stack.crm.send_task("truetick.send_mesage", kwargs={"to": NUMBER, "text": TEXT})
    stack.crm.send_task("truetick.send_message", kwargs={"to": NUMBER, "text": TEXT}, serializer="pickle")
    envelope = {"body": f"[{NUMBER}]", "headers": {}, "content-type": "application/json", "content-encoding": "utf-8"}
    delivery = {"delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "celery"}}
    broker.client.lpush("celery", json.dumps(envelope | {"properties": delivery}))

    wait_until(lambda: stack.log("w1").count("not understood") == 3, within_s=20, what="the third refusal")
    assert "truetick.send_mesage" in stack.log("w1")
    assert not [secret for secret in SECRETS if secret in stack.log("w1")]
