"""The cap of a day, as WaSender's trial has one: never one POST too many, and on with it just after midnight UTC."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import Row

from tests.drain.scene import Crm, drain, number, until_accepted, working
from tests.drain.test_throttling import rests_s, standing, why_pending
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker.channels import registry
from worker.clock import Clock
from worker.database import transaction
from worker.domain.pace import Pace
from worker.parts import Parts


def just_after_midnight(now: datetime) -> tuple[datetime, datetime]:
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
    return midnight, midnight + timedelta(seconds=2)


def at(parts: Parts, sandbox: Sandbox, moment: datetime) -> Parts:
    """The same parts at another time, which the gateway's clock shows, too."""
    ahead = moment - parts.clock()
    sandbox.switch("clock_skew_s", ahead.total_seconds())
    clock: Clock = parts.clock
    return replace(parts, clock=lambda: clock() + ahead)


def noon(parts: Parts) -> datetime:
    return datetime.combine(parts.clock().date() + timedelta(days=1), time(12), UTC)


@pytest.fixture
def today(parts: Parts, sandbox: Sandbox) -> Parts:
    """It is noon, whatever the time is."""
    return at(parts, sandbox, noon(parts))


def capped(crm: Crm, cap: int, *, name: str = "trial", pace: str = "50/1", gateways: int | None = None) -> None:
    """A channel with a cap on our side and, unless said otherwise, the same on WaSender's."""
    crm.channels(name, pace=pace, daily_cap=cap if gateways is None else gateways)
    crm.set_channel(name, daily_cap=cap)


def test_after_the_days_messages_the_next_goes_out_just_after_midnight(
    crm: Crm, parts: Parts, today: Parts, sandbox: Sandbox
) -> None:
    capped(crm, 5)
    crm.enqueue([f"{index}" for index in range(12)], channel="trial")
    drain(today)
    assert crm.texts() == ["0", "1", "2", "3", "4"]
    midnight, soon_after = just_after_midnight(today.clock())
    assert midnight < crm.channel("trial").next_slot_at <= soon_after

    drain(at(parts, sandbox, midnight - timedelta(seconds=10)))
    assert len(crm.texts()) == 5

    drain(at(parts, sandbox, midnight - timedelta(seconds=1.5)))
    assert crm.texts() == [f"{index}" for index in range(10)]

    drain(at(parts, sandbox, midnight + timedelta(days=1, seconds=2)))
    assert crm.texts() == [f"{index}" for index in range(12)]
    assert sandbox.requests(decision="refused") == []


@pytest.mark.timed
def test_the_trials_pace_and_cap_together(crm: Crm, today: Parts, sandbox: Sandbox) -> None:
    """One a minute and fifty a day, sixty times as fast."""
    crm.channels("trial", pace="1/1", limit="1/1", limit_mode="spacing", plan="trial", daily_cap=4)
    crm.set_channel("trial", daily_cap=4)
    crm.enqueue([f"{index}" for index in range(6)], channel="trial")

    drain(today)

    assert crm.texts() == ["0", "1", "2", "3"]
    assert sandbox.requests(decision="refused") == []
    assert crm.channel("trial").posts_that_day == 4


def test_whoever_waits_for_midnight_says_so(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    capped(crm, 2)
    crm.set_channel("trial", checked_at=parts.clock())
    crm.enqueue(["one", "two", "three"], channel="trial")
    drain(parts)
    if rests_s(crm, "trial") < 10:
        pytest.skip("it is midnight")

    code, sentence = why_pending(crm)
    assert code == "daily_cap"
    assert "2 messages that it may send in one day" in sentence
    assert "00:00:01 UTC" in sentence
    told = standing(crm, "trial")
    assert told.note == sentence
    assert not told.flowing
    assert (told.as_json()["daily_cap"], told.as_json()["posts_today"]) == (2, 2)


def test_refused_posts_count_as_wasender_counts_them(crm: Crm, today: Parts, sandbox: Sandbox) -> None:
    capped(crm, 3)
    sandbox.recipients(not_on_whatsapp=[number(0), number(1)])
    crm.enqueue([f"{index}" for index in range(5)], channel="trial")

    drain(today)

    assert crm.states() == ["failed", "failed", "accepted", "queued", "queued"]
    assert len(sandbox.requests()) == 3


def test_a_post_that_never_began_does_not_count(
    crm: Crm, build: Callable[..., Parts], database_url: str, today: Parts, sandbox: Sandbox
) -> None:
    capped(crm, 2)
    crm.enqueue(["one", "two"], channel="trial")
    away = build(database_url, WASENDER_BASE_URL="http://127.0.0.1:9/api", TRUETICK_DRAIN_RUN_S=0.3)
    drain(replace(away, clock=today.clock))
    assert crm.channel("trial").posts_that_day == 0
    assert crm.channel("trial").next_slot_at < today.clock() + timedelta(minutes=1)

    crm.set_channel("trial", next_slot_at=today.clock(), failures=0)
    drain(today)

    assert crm.texts() == ["one", "two"]


def test_a_post_is_counted_before_it_begins_so_that_a_kill_loses_no_count(
    crm: Crm, today: Parts, sandbox: Sandbox
) -> None:
    capped(crm, 3)
    sandbox.latency(before=1)
    crm.enqueue(["one"], channel="trial")
    run = threading.Thread(target=drain, args=[today])
    run.start()
    wait_until(lambda: sandbox.requests(decision="pending"), within_s=5, what="the POST")
    counted: Row[object] = crm.channel("trial")
    run.join()
    assert (counted.posts_that_day, counted.posts_on) == (1, today.clock().date())


def test_two_workers_never_exceed_the_cap_of_any_channel(
    crm: Crm, build: Callable[..., Parts], database_url: str, today: Parts, sandbox: Sandbox
) -> None:
    names = [f"trial-{index}" for index in range(4)]
    for name in names:
        capped(crm, 7, name=name, gateways=0)
        crm.enqueue([f"{index}" for index in range(12)], channel=name)
    workers = [replace(build(database_url, TRUETICK_DRAIN_RUN_S=0.2), clock=today.clock) for _ in range(2)]
    sandbox.latency(before="0.02-0.1")
    with working(*workers, sweeping=True) as wake:
        wake()
        until_accepted(sandbox, 28, within_s=20)
        wake()
        wait_until(lambda: crm.states().count("accepted") == 28, within_s=5, what="the last answers")

    assert {name: len(sandbox.requests(channel=name)) for name in names} == dict.fromkeys(names, 7)
    assert {crm.channel(name).posts_that_day for name in names} == {7}


def test_a_cap_that_is_set_too_late_stops_the_channel_and_one_that_is_raised_lets_it_go_on(
    crm: Crm, today: Parts, sandbox: Sandbox
) -> None:
    crm.enqueue(["one", "two", "three"])
    drain(today)

    follow(crm, today, daily_cap=2)
    crm.enqueue(["four", "five"])
    drain(today)
    assert len(crm.texts()) == 3
    midnight, soon_after = just_after_midnight(today.clock())
    assert midnight < crm.channel().next_slot_at <= soon_after

    follow(crm, today, daily_cap=4)
    drain(today)
    assert crm.texts()[3:] == ["four"]

    follow(crm, today, daily_cap=None)
    drain(today)
    assert crm.texts()[4:] == ["five"]
    assert crm.channel().posts_that_day == 5


def follow(crm: Crm, parts: Parts, *, daily_cap: int | None) -> None:
    with transaction(parts.engine) as connection:
        registry.follow_environment(connection, Pace(200, 1), parts.clock(), daily_cap=daily_cap)
