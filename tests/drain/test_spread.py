"""Channels spread over workers: one that is at its limit leaves the rest to the others."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.drain.scene import Crm, until_accepted, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import drain
from worker.parts import Parts

FEW_SENDERS = {"TRUETICK_SENDER_THREADS": 2, "TRUETICK_DRAIN_RUN_S": 3}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_workers_that_are_both_at_their_limit_share_the_channels(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    names = [f"channel-{index}" for index in range(40)]
    crm.channels(*names, pace="4/1")
    sandbox.latency(before=0.1)
    for name in names:
        crm.enqueue([f"{name}-{index}" for index in range(5)], channel=name)
    workers = [replace(build(database_url, **FEW_SENDERS), worker=name) for name in ("one", "two")]
    with working(*workers, sweeping=True) as wake:
        wake()
        until_accepted(sandbox, 200, within_s=20)

    served = Counter(attempt.worker for attempt in crm.attempts())
    assert set(served) == {"one", "two"}
    assert min(served.values()) >= 70, f"one worker did nearly all: {dict(served)}"
    assert max(Counter(crm.texts()).values()) == 1


@pytest.mark.timed
def test_a_channel_is_handed_on_at_a_runs_end_without_waiting_for_the_answers_of_others(
    crm: Crm, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "LONGEST_RUN", 1)
    crm.parts.settings.drain_run_s = 0.5
    crm.channels("slow", pace="1/5")
    crm.channels("quick", pace="20/1")
    sandbox.fault("delay", channel="slow", seconds=1.4)
    sandbox.latency(before=0.03, channel="quick")
    crm.enqueue(["slow"], channel="slow")
    crm.enqueue([f"quick {index}" for index in range(40)], channel="quick")

    with working(crm.parts) as wake:
        wake()
        wait_until(lambda: len(sandbox.requests(channel="quick")) == 40, within_s=15, what="all quick ones")
        wait_until(lambda: "sending" not in crm.states(), within_s=15, what="the answer to the slow one")

    arrived = [request.arrived_at for request in sandbox.requests(channel="quick")]
    assert max(later - former for former, later in pairwise(arrived)) < 0.4
