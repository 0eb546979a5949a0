"""Channels spread over workers: one that is at its limit leaves the rest to the others."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.drain.scene import Crm, until_accepted, working
from wasender_sandbox.control import Sandbox
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
