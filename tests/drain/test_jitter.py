"""Jitter: slots that chance moves further apart, never closer; and nothing of it where it is not wanted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from tests.drain.scene import Crm, drain, number, spacings
from tests.drain.test_throttling import standing, why_pending
from tests.outbox.desk import NOON
from wasender_sandbox.control import Sandbox
from worker.domain.pace import Pace, Pacing
from worker.parts import Parts
from worker.sending.lane import Lane


class Chance(Random):
    """What chance will bring, one after the other, as shares of what is possible."""

    def __init__(self, *shares: float) -> None:
        super().__init__()
        self._shares = list(shares)

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self._shares.pop(0)


def lane(**options: Any) -> Lane:
    return Lane(
        channel_id=1,
        api_key=None,  # type: ignore[arg-type]
        pacing=Pacing(pace=Pace(1, 5)),
        next_slot_at=NOON,
        slot=NOON,
        failures=0,
        leased_at=NOON,
        lease_until=NOON + timedelta(seconds=15),
        **options,
    )


def test_each_slot_lies_as_much_further_away_as_chance_says_and_never_nearer_than_the_pace() -> None:
    drawn = iter([timedelta(seconds=3), timedelta(0), timedelta(seconds=1)])
    jittering = lane(jitter=lambda: next(drawn))
    interval = Pacing(pace=Pace(1, 5)).interval
    slots = [jittering.opens_at]
    for _ in range(3):
        jittering.reserve(slots[-1])
        slots.append(jittering.opens_at)
    gaps = [after - before - interval for before, after in pairwise(slots)]
    assert gaps == [timedelta(seconds=3), timedelta(0), timedelta(seconds=1)]


def test_without_jitter_the_slots_are_the_paces_own() -> None:
    plain = lane()
    plain.reserve(NOON)
    assert plain.opens_at == NOON + plain.pacing.interval


@pytest.mark.timed
def test_messages_arrive_at_the_pace_and_what_chance_adds(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.channels("steady", pace="4/1")
    crm.enqueue(["0", "1", "2"], channel="steady")
    jittering = replace(build(database_url, TRUETICK_JITTER_S=0.4), chance=Chance(0, 1, 0))
    drain(jittering)

    assert crm.texts() == ["0", "1", "2"]
    first, second = spacings(sandbox)["steady"]
    assert first > 0.2
    # A POST that began late takes its delay from what chance added, not from the pace.
    assert second > 0.5


def test_a_slot_that_chance_put_off_is_kept_by_the_next_run_and_called_no_refusal(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.enqueue(["now", "in some minutes"], to=lambda _: number(1))
    jittering = replace(build(database_url, TRUETICK_JITTER_S=600), chance=Chance(0.5, 0.5))
    drain(jittering)
    slot = crm.channel().next_slot_at
    assert timedelta(seconds=280) < slot - crm.parts.clock() <= timedelta(seconds=301)
    drain(jittering)
    assert crm.texts() == ["now"]
    assert crm.channel().next_slot_at == slot

    crm.set_channel("default", checked_at=crm.parts.clock())
    assert why_pending(crm)[0] == "paced"
    assert standing(crm, "default").flowing


@pytest.mark.parametrize("pace", ["1/5", "256/60"])
def test_the_settings_leave_chance_out_by_default(build: Callable[..., Parts], sqlite_url: str, pace: str) -> None:
    settings = build(sqlite_url, TRUETICK_PACE=pace).settings
    assert settings.jitter_s == 0
