"""A plan is repeatable, holds every kind of fault, and never lays two faults of one resource over each other."""

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.mischief import CARRY_OUT
from tests.chaos.plan import FAULTS, Strike, draw_plan

NAMES = {"channel": ["a", "b", "c"], "told": ["a"], "worker": ["one", "two"]}


def plan(seed: int, faults: int = 200) -> list[Strike]:
    return draw_plan(seed, faults=faults, span_s=330, names=NAMES)


def test_a_seed_gives_the_same_plan_again_and_another_seed_another_one() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


def test_every_kind_takes_its_turn_and_can_be_carried_out() -> None:
    counts = Counter(strike.kind for strike in plan(3))
    assert set(counts) == set(FAULTS) == set(CARRY_OUT)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert sum(counts.values()) == 200


@pytest.mark.parametrize("seed", range(5))
def test_faults_of_one_resource_never_overlap(seed: int) -> None:
    strikes = plan(seed)
    for resource in {strike.resource for strike in strikes}:
        line = sorted((one for one in strikes if one.resource == resource), key=lambda one: one.at_s)
        assert all(later.at_s >= earlier.at_s + earlier.for_s for earlier, later in pairwise(line)), resource
