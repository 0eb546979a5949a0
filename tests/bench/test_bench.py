"""The measurements themselves work: each gives its figures, in a size that takes seconds. How good they are is not
tested here, for that depends on the machine.
"""

import io
from math import isfinite

import pytest
from rich.console import Console

from tests import programs
from tests.bench import drain, figures, idle, many_channels, parked, two_workers
from tests.bench.figures import Figure, at_least, at_most, told
from tests.bench.stage import Servers
from tests.real_servers import Postgres, Valkey
from wasender_sandbox.process import SandboxProcess
from worker.domain.pace import Pace


@pytest.fixture
def servers(postgres: Postgres, broker: Valkey, _sandbox_process: SandboxProcess) -> Servers:
    quiet = Console(file=io.StringIO())
    return Servers(postgres=postgres, broker=broker, sandbox=_sandbox_process, console=quiet, start=programs.warm)


def by_name(found: list[Figure]) -> dict[str, Figure]:
    """All figures; each is a number that could be one."""
    named = {figure.name: figure for figure in found}
    assert len(named) == len(found), "two figures of the same name"
    for figure in found:
        assert isfinite(figure.value), figure
        assert figure.value >= 0, figure
    return named


def test_the_drain_is_measured_beside_a_naive_task_per_message(servers: Servers) -> None:
    found = by_name(drain.measure(servers, messages=100, channels=5, rounds=1))
    assert found["worker CPU per message, drain alone"].value > 0
    assert found["the same, a Celery task per message"].value > 0
    assert found["messages per second of the drain"].value > 0


def test_idling_is_measured_process_by_process(servers: Servers) -> None:
    found = by_name(idle.measure(servers, seconds=1, warm_up_s=0))
    assert {"worker", "beat", "web", "broker", "PostgreSQL"} <= found.keys()


def test_parked_messages_are_measured_from_the_outage_to_the_first_post(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "PACE", Pace(1, 1))
    monkeypatch.setattr(parked, "ASKED_TIMES", 1)
    found = by_name(parked.measure(servers, messages=1000, seconds=1, rounds=1, check_interval_s=1.0, warm_up_s=0))
    assert found["messages touched while it was down"].value == 0
    assert found["most tasks in the broker"].value < 1000
    assert found["scan to first POST, by webhook, worst of 1"].value > 0
    assert found["scan to first POST, by asking, worst of 1"].value > 0


def test_many_channels_are_measured_by_what_the_sandbox_saw(servers: Servers) -> None:
    found = by_name(many_channels.measure(servers, channels=4, seconds=6, threads=4, warm_up_s=0))
    assert found["messages per second"].value > 0
    assert found["slowest channel's mean gap"].value >= found["shortest gap on a channel"].value > 0
    assert found["channels taken for broken"].value == 0


def test_the_table_says_which_aims_are_met() -> None:
    paper = io.StringIO()
    measured = [at_most("fast", 1, 2, "s"), at_least("much", 1, 2, "items"), told("said", 3, "times")]
    figures.show(Console(file=paper, width=120), [("one", measured)])
    rows = {line.split("│")[2].strip(): line for line in paper.getvalue().splitlines() if "│" in line}
    assert "yes" in rows["fast"]
    assert "no" in rows["much"]
    assert "at least 2 items" in rows["much"]
    assert "3.00 times" in rows["said"]


@pytest.mark.timed
def test_two_workers_are_measured_by_what_the_sandbox_saw(servers: Servers) -> None:
    found = by_name(two_workers.measure(servers, seconds=6, warm_up_s=3))
    assert found["refused as too early or too many"].value == 0
    assert {load.name for load in two_workers.LOADS} <= found.keys()
