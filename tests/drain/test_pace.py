"""The pace: what arrives at the sandbox is never closer than the limit, and hardly wider."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from statistics import median
from typing import Any

import pytest

from tests.drain.scene import Crm, drain, number, spacings, until_accepted, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker.channels import leases
from worker.database import transaction
from worker.gateway import wire
from worker.outbox.claims import claim_next
from worker.parts import Parts

pytestmark = pytest.mark.timed

#: Several hand-overs between workers become part of the test.
#: Sweeps come at least as often as runs end, as they do by default: a slot behind a run's end is theirs to find.
SHORT_RUNS = {"TRUETICK_DRAIN_RUN_S": 2, "TRUETICK_SWEEP_INTERVAL_S": 2}
#: The share of a limit that has to be used.
USED = 0.98


def test_two_workers_keep_the_exact_pace_of_their_channels_and_use_it_up(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    names = [f"channel-{index}" for index in range(10)]
    crm.channels(*names, pace="1/5", limit="1/5", limit_mode="spacing")
    sandbox.latency(before="0.05-0.3")
    for name in names:
        crm.enqueue(["one", "two", "three"], channel=name)
    with working(build(database_url, **SHORT_RUNS), build(database_url, **SHORT_RUNS), sweeping=True) as wake:
        wake()
        until_accepted(sandbox, 30, within_s=20)

    gaps = [gap for channel in spacings(sandbox).values() for gap in channel]
    assert sandbox.rate_violations() == 0
    assert len(gaps) == 20
    assert min(gaps) >= 5.0
    assert median(gaps) <= 5.0 / USED, "too much of the limit was left unused"


def test_two_workers_use_up_a_fast_channels_limit_although_several_posts_are_under_way_at_once(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    """256/60: a POST takes longer than the interval. The limit's window is a quarter, so that it comes round."""
    modes = ("fixed", "sliding")
    for mode in modes:
        crm.channels(mode, pace="256/60", limit="64/15", limit_mode=mode)
        crm.enqueue([f"{index}" for index in range(110)], channel=mode)
    sandbox.latency(before="0.05-0.3")
    with working(build(database_url, **SHORT_RUNS), build(database_url, **SHORT_RUNS), sweeping=True) as wake:
        wake()
        until_accepted(sandbox, 220, within_s=60)

    assert sandbox.rate_violations() == 0
    assert max(request.in_flight for request in sandbox.requests()) in {2, 3, 4}
    for mode in modes:
        arrived = [request.arrived_at for request in sandbox.requests(channel=mode)]
        # Whatever else this machine is doing, there are some seconds in which it lets the workers be in time.
        assert max(used(arrived[at : at + 30], 60 / 256) for at in range(len(arrived) - 29)) >= USED
        assert used(arrived, 60 / 256) >= 0.85


@pytest.mark.parametrize("mode", ["fixed", "sliding", "spacing"])
def test_one_at_a_time_is_kept_as_exactly_however_wasender_counts(
    crm: Crm, parts: Parts, sandbox: Sandbox, mode: str
) -> None:
    crm.channels("paced", pace="1/1", limit="1/1", limit_mode=mode)
    sandbox.latency(before="0.05-0.3")
    crm.enqueue([f"{index}" for index in range(8)], channel="paced")

    drain(parts)

    assert crm.texts() == [f"{index}" for index in range(8)]
    assert sandbox.requests(decision="refused") == []
    assert median(spacings(sandbox)["paced"]) <= 1.0 / USED


@pytest.mark.parametrize("mode", ["fixed", "sliding"])
def test_ten_a_second_are_never_too_many(crm: Crm, parts: Parts, sandbox: Sandbox, mode: str) -> None:
    crm.channels("fast", pace="10/1", limit="10/1", limit_mode=mode)
    crm.enqueue([f"{index}" for index in range(60)], channel="fast")

    drain(parts)

    assert len(crm.texts()) == 60
    assert sandbox.requests(decision="refused") == []
    assert median(spacings(sandbox)["fast"]) <= 0.1 / 0.95


def used(arrived: Sequence[float], interval_s: float) -> float:
    """How much of the limit was used from the first arrival to the last."""
    return (len(arrived) - 1) * interval_s / (arrived[-1] - arrived[0])


def test_slots_just_beyond_the_end_of_a_run_are_kept_without_a_sweep(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.channels("steady", pace="4/1")
    crm.enqueue([f"{index}" for index in range(12)], channel="steady")

    drain(build(database_url, TRUETICK_DRAIN_RUN_S=0.6))

    assert crm.texts() == [f"{index}" for index in range(12)]
    assert median(spacings(sandbox)["steady"]) <= 0.25 / 0.9


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_hundred_channels_keep_their_pace_in_one_worker(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    names = [f"channel-{index}" for index in range(200)]
    crm.channels(*names, pace="1/5", limit="1/5", limit_mode="spacing")
    for name in names:
        crm.enqueue(["one", "two", "three"], channel=name)
    with working(parts, sweeping=True) as wake:
        wake()
        until_accepted(sandbox, 600, within_s=30)

    gaps = spacings(sandbox)
    assert sandbox.rate_violations() == 0
    assert {len(own) for own in gaps.values()} == {2}
    assert min(min(own) for own in gaps.values()) >= 5.0
    assert median(sum(own) / 2 for own in gaps.values()) <= 5.0 / 0.95, "more than a twentieth was left unused"
    assert max(sum(own) / 2 for own in gaps.values()) <= 5.0 / 0.9, "one channel fell behind the others"


def test_a_slow_first_connection_does_not_bring_the_second_post_too_near(
    crm: Crm, parts: Parts, sandbox: Sandbox, monkeypatch: Any
) -> None:
    """DNS, TCP and TLS delay the first POST; the next one, on the same connection, comes at once."""
    crm.channels("paced", pace="2/1", limit="10/4", limit_mode="spacing")
    real = wire._Telling.connect

    def connect(self: Any) -> None:
        time.sleep(0.3)
        real(self)

    monkeypatch.setattr(wire._Telling, "connect", connect)
    crm.enqueue(["one", "two", "three"], channel="paced", to=lambda _: number(1))

    drain(parts)

    assert sandbox.rate_violations() == 0
    assert crm.texts() == ["one", "two", "three"]


def test_the_last_possible_post_of_a_lost_worker_counts_for_the_pace(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    crm.channels("slow", pace="1/1")
    crm.enqueue(["one", "two"], channel="slow")
    leased_until = _claim_and_die(parts)

    wait_until(lambda: drain(parts) or crm.texts() == ["two"], within_s=8, what="the second message")

    assert sandbox.requests()[0].arrived_at >= leased_until + 1.0
    assert crm.states() == ["in_doubt", "accepted"]


def _claim_and_die(parts: Parts) -> float:
    """A worker claims and is never seen again. Returns when its lease ends (Unix time)."""
    now = parts.clock()
    token = "d" * 32
    lease = leases.Lease(token=token, holder="lost:1", until=now + timedelta(seconds=1))
    with transaction(parts.engine) as connection:
        rows = leases.take_waiting(connection, lease, now=now, horizon=now, most=10)
        claim_next(connection, [row.id for row in rows], token, now=now)
    return lease.until.timestamp()
