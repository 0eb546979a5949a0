"""A real worker and beat on a real broker: what a CRM sends goes out, whatever happens to broker or worker."""

import json
import os
from pathlib import Path

import pytest
from celery import Celery

from tests import programs
from tests.conftest import API_KEY
from tests.drain.scene import Crm, number
from tests.live_stack import LiveStack
from tests.programs import Running
from tests.real_servers import Valkey, wait_until
from wasender_sandbox.control import Sandbox
from worker.domain.channel_state import ChannelState

QUEUES = ("celery", "truetick.drain", "truetick.upkeep")


def tasks_in(broker: Valkey) -> int:
    """Tasks that wait in the broker or were handed out without being done."""
    waiting = sum(broker.client.llen(name) for name in QUEUES)  # type: ignore[misc]
    return waiting + broker.client.zcard("unacked_index")  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_takes_sends_tells_nothing_and_stops_in_peace(
    environment: dict[str, str], crm: Crm, broker: Valkey, sandbox: Sandbox, tmp_path: Path
) -> None:
    with LiveStack(tmp_path, environment) as stack:
        stack.worker("worker")
        stack.beat()
        stack.until_ready("worker")
        consumed = stack.crm.control.inspect(timeout=3).active_queues()["worker@here"]
        assert {queue["name"] for queue in consumed} == set(QUEUES)
        wait_until(lambda: crm.channel().state is ChannelState.UP, within_s=5, what="the first check")

        # A CRM without our code knows only the broker's address and the task's name.
        message_id = stack.send(to="70330 00001", text="a secret of the patient")
        wait_until(lambda: crm.states() == ["delivered"], within_s=8, what="the delivery")
        assert crm.texts() == ["a secret of the patient"]
        assert str(crm.messages()[0].id) == message_id

        # Nothing waits inside Celery, however long a channel is down.
        sandbox.set_status("default", "need_scan")
        wait_until(lambda: crm.channel().state is ChannelState.DOWN, within_s=5, what="the check")
        posted = len(sandbox.requests())
        crm.enqueue([f"parked {index}" for index in range(800)], to=lambda index: number(index % 100))
        for index in range(200):
            stack.send(to=number(index % 100), text=f"parked, too {index}")
        wait_until(lambda: len(crm.states()) == 1001, within_s=30, what="the intake")
        wait_until(lambda: tasks_in(broker) == 0, within_s=5, what="an empty broker")
        assert len(sandbox.requests()) == posted

        # A worker that is told to stop brings home what is in flight.
        sandbox.latency(before=1.0)
        sandbox.scan("default")
        wait_until(lambda: len(sandbox.requests()) > posted + 3, within_s=8, what="sending after the scan")
        assert stack.stop("worker") == 0
        assert "sending" not in crm.states()
        assert "in_doubt" not in crm.states()
        assert crm.channel().lease_token is None
        taken = [row for row in crm.messages() if row.gateway_msg_id is not None]
        assert {row.gateway_msg_id for row in taken} == {entry.msg_id for entry in sandbox.ledger()}

        for said in (stack.log("worker"), stack.log("beat")):
            for secret in (API_KEY, environment["TRUETICK_SECRET_KEY"], "patient", "parked", "7033000001"):
                assert secret not in said
            assert "Traceback" not in said


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_messages_that_are_stored_outlive_their_broker(
    environment: dict[str, str], crm: Crm, broker: Valkey, sandbox: Sandbox, tmp_path: Path
) -> None:
    with LiveStack(tmp_path, environment | {"TRUETICK_PACE": "20/1"}) as stack:
        stack.worker("worker")
        stack.beat()
        stack.until_ready("worker")
        wait_until(lambda: crm.channel().state is ChannelState.UP, within_s=5, what="the first check")
        crm.enqueue([f"before {index}" for index in range(20)])
        broker.client.flushall()
        wait_until(lambda: len(crm.texts()) >= 5, within_s=10, what="sending after the flush")
        broker.kill()
        crm.enqueue([f"without a broker {index}" for index in range(10)])
        broker.start()
        wait_until(lambda: len(crm.texts()) == 30, within_s=25, what="sending after the broker's return")
        stack.send(to=number(77), text="after")
        wait_until(lambda: "after" in crm.texts(), within_s=10, what="a CRM's task after the broker's return")
    assert len(set(crm.texts())) == 31 == len(crm.texts())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_worker_and_beat_start_with_nothing_but_the_addresses(database_url: str, broker: Valkey) -> None:
    addresses = {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": broker.url,
        "WASENDER_BASE_URL": "http://127.0.0.1:9",
    }
    environment = {"PATH": os.environ["PATH"], **addresses}
    started = {"worker": _celery(environment, "worker"), "beat": _celery(environment, "beat", "--pidfile=")}
    with Celery(broker=broker.url, set_as_current=False) as crm:
        try:
            wait_until(lambda: len(crm.control.ping(timeout=0.5)) == 2, within_s=25, what="an answer from both")
        finally:
            for process in started.values():
                process.terminate()
            codes = {name: process.wait(30) for name, process in started.items()}
    assert codes == {"worker": 0, "beat": 0}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_schedule_holds_the_periodic_tasks_and_every_task_has_its_queue(
    environment: dict[str, str], tmp_path: Path
) -> None:
    code = """
import json
from worker import app
app.loader.import_default_modules()
route = lambda name: app.amqp.router.route({}, name)["queue"].name
print(json.dumps({
    "schedule": {
        entry["task"]: at.total_seconds() if hasattr(at := entry["schedule"], "total_seconds") else str(at)
        for entry in app.conf.beat_schedule.values()
    },
    "queues": {name: route(name) for name in app.tasks if name.startswith("truetick.")},
    "default": app.conf.task_default_queue,
}))
"""
    answer, errors = tmp_path / "answer.json", tmp_path / "errors.txt"
    asked = programs.warm("python", "-c", code, environment=os.environ | environment, output=answer, errors=errors)
    assert asked.wait(30) == 0, errors.read_text()
    found = json.loads(answer.read_text())
    assert found == {
        "schedule": {
            "truetick.check_channels": 1.0,
            "truetick.reconcile_messages": 0.5,
            "truetick.resolve_doubts": 0.5,
            "truetick.sweep": 0.5,
            # By the calendar: beat keeps no file, so an interval of a week would hardly ever be over.
            "truetick.daily_health_check": "<crontab: 0 6 * * * (m/h/dM/MY/d)>",
            "truetick.weekly_maintenance": "<crontab: 17 3 * * sunday (m/h/dM/MY/d)>",
        },
        "queues": {
            "truetick.send_message": "celery",
            "truetick.drain": "truetick.drain",
            "truetick.check_channels": "truetick.upkeep",
            "truetick.reconcile_messages": "truetick.upkeep",
            "truetick.hear_webhooks": "truetick.upkeep",
            "truetick.deliver_callbacks": "truetick.upkeep",
            "truetick.resolve_doubts": "truetick.upkeep",
            "truetick.sweep": "truetick.upkeep",
            "truetick.daily_health_check": "truetick.upkeep",
            "truetick.weekly_maintenance": "truetick.upkeep",
        },
        "default": "celery",
    }


def _celery(environment: dict[str, str], *arguments: str) -> Running:
    return programs.cold("celery", "-A", "worker", *arguments, environment=environment, output=Path(os.devnull))
