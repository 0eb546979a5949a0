"""A WaSender that takes questions and never answers them must not take the worker's threads with it."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import update

from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import evidence, health
from worker.database import transaction
from worker.models import Message
from worker.parts import Parts
from worker.tasks import _one_at_a_time


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    """With little patience for questions, so that the tests need little as well."""
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(database_url, TRUETICK_READ_TIMEOUT_S=0.4)


def test_a_tick_leaves_at_once_while_its_former_run_is_at_work() -> None:
    begun, may_end = threading.Event(), threading.Event()
    runs: list[None] = []

    def work() -> None:
        runs.append(None)
        begun.set()
        may_end.wait(10)

    tick = _one_at_a_time(work)
    first = threading.Thread(target=tick)
    first.start()
    assert begun.wait(5)
    tick()
    assert len(runs) == 1
    may_end.set()
    first.join(5)
    tick()
    assert len(runs) == 2


def test_reconciling_ends_in_time_while_no_question_is_answered(
    parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = Crm(parts, sandbox)
    crm.channels("default")
    crm.enqueue(str(index) for index in range(60))
    drain(parts)
    make_due(crm)
    sandbox.fault("hang", endpoint="info")
    monkeypatch.setattr(evidence, "RUN_S", 0.1)
    begun = time.monotonic()
    assert not evidence.reconcile_messages(parts)
    assert time.monotonic() - begun < 0.1 + 0.4 + 2, "more was asked about once there was no answer"
    assert set(crm.states()) == {"accepted"}
    sandbox.clear_faults()
    make_due(crm)
    monkeypatch.setattr(evidence, "RUN_S", 2)
    assert evidence.reconcile_messages(parts)
    assert "accepted" not in crm.states(), "nothing may be lost by questions without answers"


@pytest.mark.parametrize("endpoint", ["info", "status"])
def test_a_process_that_stops_waits_for_the_questions_under_way_and_no_more(
    parts: Parts, sandbox: Sandbox, endpoint: str
) -> None:
    crm = Crm(parts, sandbox)
    crm.channels("default", *(f"channel-{index}" for index in range(40)))
    crm.enqueue(str(index) for index in range(60))
    drain(parts)
    make_due(crm)
    sandbox.fault("hang", endpoint=endpoint)
    run = evidence.reconcile_messages if endpoint == "info" else health.check_channels
    worker = threading.Thread(target=run, args=(parts,))
    worker.start()
    time.sleep(0.3)  # the first questions are under way; there is nothing to see it by
    parts.stopping.set()
    worker.join(3)
    assert not worker.is_alive()


def make_due(crm: Crm) -> None:
    """As if the time of the next question had come."""
    wait_until(lambda: len(crm.sandbox.ledger(acked=True)) >= 60, within_s=10, what="the ticks")
    with transaction(crm.parts.engine) as connection:
        connection.execute(update(Message).values(next_check_at=crm.parts.clock()))
