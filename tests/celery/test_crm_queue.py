"""The queue of the CRMs: a task is taken at once, and no worker that is killed takes one with it."""

from pathlib import Path

import pytest

from tests.drain.scene import Crm, number
from tests.live_stack import LiveStack
from tests.real_servers import Valkey, wait_until


def waits_for_tasks(broker: Valkey) -> bool:
    """Has a worker asked the broker for whatever comes?"""
    return any("b" in client["flags"] for client in broker.client.client_list())  # type: ignore[union-attr]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_task_that_comes_while_a_worker_dies_is_not_lost(
    environment: dict[str, str], crm: Crm, broker: Valkey, tmp_path: Path
) -> None:
    with LiveStack(tmp_path, environment) as stack:
        stack.worker("first")
        stack.until_ready("first")
        stack.send(to=number(0), text="before")
        wait_until(lambda: len(crm.messages()) == 1, within_s=8, what="the first message's storing")
        wait_until(lambda: broker.client.hlen("unacked") == 0, within_s=8, what="the end of all tasks")

        # As if it were killed just then: it waits for tasks, and will do nothing with those that come.
        wait_until(lambda: waits_for_tasks(broker), within_s=8, what="the worker's waiting")
        stack.freeze("first")
        sent = [stack.send(to=number(index), text=f"while it dies {index}") for index in range(3)]
        stack.kill("first")
        stack.worker("second")

        wait_until(lambda: len(crm.messages()) == 4, within_s=15, what="the storing of all")
        assert {str(row.id) for row in crm.messages()} >= set(sent)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_worker_had_taken_stays_in_the_broker_until_it_is_stored(
    environment: dict[str, str], crm: Crm, broker: Valkey, tmp_path: Path
) -> None:
    with LiveStack(tmp_path, environment) as stack:
        stack.worker("first")
        stack.until_ready("first")
        sent = [stack.send(to=number(index), text=f"one of many {index}") for index in range(400)]
        wait_until(lambda: len(crm.messages()) > 20, within_s=8, what="the storing of some")

        stack.kill("first")

        stored = len(crm.messages())
        assert stored < len(sent), "it was killed too late"
        held = broker.client.llen("celery") + broker.client.hlen("unacked")  # type: ignore[operator]
        assert held >= len(sent) - stored
        stack.worker("second")
        taken = broker.client.hlen("unacked")  # back after the visibility timeout
        wait_until(lambda: len(crm.messages()) >= len(sent) - taken, within_s=15, what="the storing of what waits")  # type: ignore[operator]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_task_with_a_priority_is_taken_too(environment: dict[str, str], crm: Crm, tmp_path: Path) -> None:
    """It stands in a list of its own, whatever the priority means to whoever gave it."""
    with LiveStack(tmp_path, environment) as stack:
        stack.worker("worker")
        stack.until_ready("worker")
        for priority in (0, 3, 9):
            request = {"to": number(priority), "text": "with a priority"}
            stack.crm.send_task("truetick.send_message", kwargs=request, priority=priority)
        wait_until(lambda: len(crm.messages()) == 3, within_s=5, what="the storing of all")
