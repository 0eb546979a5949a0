"""A CRM that would rather have a Celery task in its own queue: on a real broker, in time, and nothing lost."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from tests.callbacks.office import DELIVERED, SENT, Office
from tests.real_servers import Valkey, wait_until
from worker.parts import Parts

ADDRESS = "celery:crm.tasks.on_status@crm"


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
