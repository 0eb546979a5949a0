"""A CRM that would rather have a Celery task in its own queue: on a real broker, in time, and nothing lost."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import update

from tests.callbacks.office import DELIVERED, SENT, Office
from tests.docs.snippets import snippets
from tests.real_servers import Valkey, wait_until
from worker.models import Callback
from worker.parts import Parts

ADDRESS = "celery:crm.tasks.whatsapp_status@crm"


@pytest.fixture
def office(office: Office, build: Callable[..., Parts], database_url: str, broker: Valkey) -> Office:
    office.parts = office.another(build(database_url, CELERY_BROKER_URL=broker.url))
    office.add(ADDRESS, secret=None)
    return office


def test_each_change_becomes_a_task_of_the_crm_in_its_own_queue(office: Office, broker: Valkey) -> None:
    message = office.message(SENT, DELIVERED)

    office.tell()

    assert office.states() == ["delivered", "delivered"]
    tasks = consumed(broker, 2)
    assert [(kwargs["type"], kwargs["data"]["status"]) for kwargs, _ in tasks] == [
        ("message.status", "sent"),
        ("message.status", "delivered"),
    ]
    assert [headers["id"] for _, headers in tasks] == [f"change_2_{message}", f"change_3_{message}"]
    # What a CRM's Flower shows of a task are its headers: no number stands in them.
    assert "+9170330" not in str([headers for _, headers in tasks])
    assert not broker.client.llen("celery")


@pytest.mark.parametrize("trouble", ["dead", "frozen"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_broker_that_does_not_answer_delays_a_callback_and_loses_none(
    office: Office, broker: Valkey, trouble: str
) -> None:
    office.message(SENT)
    began = time.monotonic()
    if trouble == "dead":
        broker.kill()
        office.tell()
        broker.start()
    else:
        with broker.frozen():
            office.tell()
    assert time.monotonic() - began < 5
    assert office.states() == ["waiting"]
    assert "the broker did not take the task" in (office.endpoint().problem or "")
    office.wait(seconds=2)

    office.tell()

    assert office.states() == ["delivered"]
    assert consumed(broker, 1)


@contextmanager
def documented_worker(broker: Valkey, folder: Path) -> Iterator[Path]:
    """A Celery worker of a CRM whose task is the one in the docs. Gives the file with what it says."""
    [snippet] = [one for one in snippets("python") if "whatsapp_status.request.id" in one.code]
    (folder / "crm_tasks.py").write_text(snippet.code.replace("redis://localhost:6379/0", broker.url))
    said = folder / "crm.log"
    command = [sys.executable, "-m", "celery", "-A", "crm_tasks", "worker", "-Q", "crm", "--pool", "solo"]
    with said.open("wb") as log:
        worker = subprocess.Popen(
            command, cwd=folder, env={"PATH": os.environ["PATH"]}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        yield said
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_task_in_the_docs_hears_each_change_and_knows_what_it_was_told_before(
    office: Office, broker: Valkey, tmp_path: Path
) -> None:
    message = office.message(SENT, DELIVERED)
    office.tell()
    # As after a crash between the telling and the note that it was told.
    office.desk.write(lambda c: c.execute(update(Callback).values(state="waiting")))
    office.tell()

    with documented_worker(broker, tmp_path) as said:
        wait_until(lambda: said.read_text().count("is delivered since") == 2, within_s=20, what="the tasks")
        told = said.read_text()

    for seq, status in ((2, "sent"), (3, "delivered")):
        heard = re.findall(rf"(change_\S+): message {message} is {status} since \S+Z\n", told)
        assert heard == [f"change_{seq}_{message}"] * 2
    assert "Traceback" not in told


def consumed(broker: Valkey, how_many: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The tasks in the CRM's queue: their keyword arguments and headers."""
    tasks: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def take(body: Any, message: Any) -> None:
        tasks.append((body[1], message.headers))
        message.ack()

    def enough() -> bool:
        if len(tasks) < how_many:
            connection.drain_events(timeout=2)
        return len(tasks) >= how_many

    with Celery(broker=broker.url, set_as_current=False) as crm, crm.connection_for_read() as connection:
        queue = crm.amqp.queues["crm"](connection.default_channel)
        with connection.Consumer(queue, callbacks=[take], accept=["json"]):
            wait_until(enough, within_s=5, what="the tasks")
    return tasks
