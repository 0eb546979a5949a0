"""A broker that goes away while a CRM's task is in hand costs neither the worker nor the message."""

from pathlib import Path

import pytest

from tests.drain.scene import Crm
from tests.live_stack import LiveStack
from tests.real_servers import Valkey, wait_until
from worker.database import transaction


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_outlives_a_broker_that_goes_away_while_a_task_waits_for_the_database(
    environment: dict[str, str], crm: Crm, broker: Valkey, tmp_path: Path
) -> None:
    with LiveStack(tmp_path, environment) as stack:
        stack.worker("worker")
        stack.until_ready("worker")
        with transaction(crm.parts.engine):  # nobody else can write
            message_id = stack.send(to="70330 00001", text="kept in hand")
            wait_until(lambda: broker.client.hlen("unacked") > 0, within_s=10, what="the task's taking")
            broker.kill()
            wait_until(lambda: "Cannot connect" in stack.log("worker"), within_s=20, what="the loss of the broker")
            broker.start()
        wait_until(lambda: len(crm.messages()) == 1, within_s=20, what="the message's storing")

        # It takes the next task over its new connection.
        second = stack.send(to="70330 00002", text="the next one")
        wait_until(lambda: len(crm.messages()) == 2, within_s=20, what="the next message's storing")

        assert [str(row.id) for row in crm.messages()] == [message_id, second]
        assert stack.ended() == []
        assert "Unrecoverable" not in stack.log("worker")
