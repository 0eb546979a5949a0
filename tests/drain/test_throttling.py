"""Limits that surprise us: few refusals, no attempt lost, then a steady flow under the limit that there is."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from tests.drain.scene import Crm, drain, until_accepted, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker.channels import overview
from worker.channels.overview import ChannelStanding
from worker.database import snapshot
from worker.domain.pace import MOST_SLOWDOWN
from worker.outbox import reading
from worker.outbox.reading import Filters
from worker.parts import Parts

pytestmark = pytest.mark.timed


def refused(sandbox: Sandbox) -> int:
    return len(sandbox.requests(decision="refused"))


def standing(crm: Crm, name: str) -> ChannelStanding:
    with snapshot(crm.parts.engine) as connection:
        found = overview.standings(connection, now=crm.parts.clock(), check_interval_s=3600)
    return next(channel for channel in found if channel.name == name)


def why_pending(crm: Crm) -> tuple[str, str]:
    """Code and sentence of the newest message."""
    with snapshot(crm.parts.engine) as connection:
        (newest,) = reading.list_messages(connection, Filters(), now=crm.parts.clock(), limit=1)
    assert newest.pending is not None
    return newest.pending.code, newest.pending.sentence


def rests_s(crm: Crm, name: str) -> float:
    rests: timedelta = crm.channel(name).next_slot_at - datetime.now(UTC)
    return rests.total_seconds()


def silent_about_waits(sandbox: Sandbox) -> None:
    """429s that say nothing of how long to wait."""
    sandbox.switch("retry_after", "absent")
    sandbox.switch("daily_retry_after", "absent")
    sandbox.switch("rate_headers", "off")


@pytest.mark.parametrize(
    ("mode", "rate", "count", "share"),
    [("fixed", 20, 80, 0.6), ("spacing", 10, 60, 0.5)],
    ids=["fixed", "spacing"],
)
def test_under_half_our_limit_all_arrive_after_few_refusals_and_none_counts_as_an_attempt(
    crm: Crm, parts: Parts, sandbox: Sandbox, mode: str, rate: int, count: int, share: float
) -> None:
    """`share` is how much of the limit that there is has to be used, once it is known. WaSender tells waits in whole
    seconds, which is a lot where messages are counted one by one."""
    crm.channels("halved", pace=f"{rate}/1", limit=f"{rate}/2", limit_mode=mode)
    texts = [f"{index}" for index in range(count)]
    crm.enqueue(texts, channel="halved")
    with working(parts, sweeping=True) as wake:
        wake()
        until_accepted(sandbox, count, within_s=60)

    assert sorted(crm.texts()) == sorted(texts)
    assert refused(sandbox) <= count / 8, "it kept running against the limit"
    arrived = [entry.request_at for entry in sandbox.ledger()]
    known = arrived[count // 4 :]
    assert (len(known) - 1) / (rate / 2) / (known[-1] - known[0]) > share, "it crept along far below the limit"
    wait_until(lambda: set(crm.states()) == {"accepted"}, within_s=5, what="the last answer")
    assert {message.attempts for message in crm.messages()} == {1}


def test_a_slowed_channel_says_so_and_is_itself_again_when_the_limit_is(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    crm.channels("slowed", pace="50/1", limit="5/1", limit_mode="spacing")
    crm.set_channel("slowed", checked_at=parts.clock())
    crm.enqueue([f"{index}" for index in range(6)], channel="slowed")
    drain(parts)
    slowdown = crm.channel("slowed").slowdown
    assert slowdown > 1.2
    told = standing(crm, "slowed")
    assert "WaSender refused messages as too many although the pace 50/1 was kept" in (told.note or "")
    assert told.flowing, "slowly, but they go out"
    assert told.as_json()["slowdown"] == round(slowdown, 2)
    crm.enqueue(["later"], channel="slowed", send_after="2001-01-01T00:00:00Z")
    crm.set_channel("slowed", next_slot_at=parts.clock())
    code, sentence = why_pending(crm)
    assert code == "paced"
    assert "for now" in sentence

    sandbox.change_channel("slowed", limit="none")
    crm.enqueue([f"{index}" for index in range(180)], channel="slowed")
    drain(parts)

    assert crm.channel("slowed").slowdown == 1.0
    assert standing(crm, "slowed").note is None


def test_account_protection_switched_on_behind_our_back_is_found_and_kept(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    """From 256/60 to 1/5, at five times their speed."""
    crm.channels("protected", pace="1280/60", limit="1/1", limit_mode="fixed")
    crm.enqueue([f"{index}" for index in range(20)], channel="protected")
    with working(parts, sweeping=True) as wake:
        wake()
        until_accepted(sandbox, 20, within_s=60)

    assert crm.channel("protected").slowdown > 10
    late = sandbox.ledger()[12].request_at
    refused_late = [request for request in sandbox.requests(decision="refused") if request.arrived_at > late]
    assert len(refused_late) <= 2


@pytest.mark.parametrize(
    ("before", "slowdown", "least_s", "most_s"),
    [(0, 1.0, 4, 5), (0, MOST_SLOWDOWN, 4, 5), (1, 1.5, 58, 60), (2, 2.25, 58, 60), (3, 1.5, 3590, 3600)],
)
def test_without_a_hint_the_wait_grows_with_each_refusal_in_a_row_and_is_said_at_the_hour(
    crm: Crm,
    build: Callable[..., Parts],
    database_url: str,
    sandbox: Sandbox,
    before: int,
    slowdown: float,
    least_s: float,
    most_s: float,
) -> None:
    parts = build(database_url, TRUETICK_DRAIN_RUN_S=0.5)
    silent_about_waits(sandbox)
    crm.channels("silent", pace="100/1", daily_cap=1)
    crm.enqueue(["one"], channel="silent")
    drain(parts)
    crm.set_channel("silent", slowdown=slowdown, unhinted_refusals=before)
    crm.enqueue(["two"], channel="silent")

    with capture_logs() as logs:
        drain(parts)

    assert crm.states() == ["accepted", "queued"]
    assert least_s < rests_s(crm, "silent") <= most_s
    assert crm.channel("silent").slowdown == min(slowdown * 1.5, MOST_SLOWDOWN)
    assert crm.channel("silent").unhinted_refusals == before + 1
    assert ("refused_unexplained" in [entry["event"] for entry in logs]) == (most_s == 3600)
    assert why_pending(crm)[0] == "throttled"


@pytest.mark.parametrize("skew_s", [-300, 0, 300])
@pytest.mark.parametrize("reset", ["epoch", "delta"])
def test_a_reset_is_understood_whatever_the_gateways_clock_shows(
    crm: Crm, parts: Parts, sandbox: Sandbox, reset: str, skew_s: int
) -> None:
    sandbox.switch("retry_after", "absent")
    sandbox.switch("rate_reset", reset)
    sandbox.switch("clock_skew_s", skew_s)
    crm.channels("skewed", pace="100/1", limit="1/30")
    began = time.time()
    crm.enqueue(["one", "two"], channel="skewed")

    drain(parts)

    assert crm.states() == ["accepted", "queued"]
    assert 30 <= crm.channel("skewed").next_slot_at.timestamp() - began < 33


def test_a_days_cap_that_nobody_told_us_of_is_waited_out_without_blaming_the_pace(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    crm.channels("capped", pace="100/1", daily_cap=3)
    crm.enqueue([f"{index}" for index in range(5)], channel="capped")

    drain(parts)

    to_midnight_s = 86_400 - time.time() % 86_400
    assert crm.texts() == ["0", "1", "2"]
    assert abs(rests_s(crm, "capped") - to_midnight_s) < 3
    if to_midnight_s > 1000:
        assert crm.channel("capped").slowdown < 1.01
    assert {message.attempts for message in crm.messages()} == {0, 1}
