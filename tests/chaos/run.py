"""One run on one setup: everything up, load and faults at once, everything put right, and the verdict."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.evidence import Evidence
from tests.chaos.gather import gather, still_in_broker, stored_so_far, unfinished
from tests.chaos.judge import Verdict, judge
from tests.chaos.load import Crm
from tests.chaos.mischief import Mischief
from tests.chaos.place import Place, Setup, standing
from tests.chaos.plan import FAULTS, Strike, draw_plan
from worker.database import DatabaseAway

#: Short times, so that hours of trouble fit into minutes.
SETTINGS = {
    "TRUETICK_LEASE_S": "3",
    "TRUETICK_READ_TIMEOUT_S": "2",
    "TRUETICK_CONNECT_TIMEOUT_S": "2",
    "TRUETICK_ACK_TIMEOUT_S": "6",
    "TRUETICK_SETTLE_S": "3",
    "TRUETICK_CHECK_INTERVAL_S": "1",
    "TRUETICK_RECONCILE_INTERVAL_S": "1",
    "TRUETICK_SWEEP_INTERVAL_S": "0.5",
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything. The faults are spread over `span_s`, the load over the same time."""

    messages: int
    faults: int
    span_s: float
    channels: int
    recipients: int
    kinds: tuple[str, ...] = tuple(FAULTS)
    #: No fault lasts longer.
    longest_s: float = 60.0
    #: How long everything may take to come to rest after the last fault.
    rest_s: float = 180.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    strikes: list[Strike]
    evidence: Evidence
    verdict: Verdict
    seconds: float


#: Told how far it is: faults over, messages stored, messages unfinished.
Progress = Callable[[int, int, int], None]


def run(
    setup: Setup,
    size: Size,
    *,
    seed: int,
    folder: Path,
    settings: dict[str, str] | None = None,
    progress: Progress = lambda *_: None,
) -> Outcome:
    begun = time.monotonic()
    given = SETTINGS | (settings or {})
    with standing(setup, folder, seed=seed, channels=size.channels, settings=given) as place:
        strikes = draw_plan(
            seed,
            faults=size.faults,
            span_s=size.span_s,
            names={"channel": place.channels, "told": place.told, "worker": setup.workers},
            longest_s=size.longest_s,
            kinds=size.kinds,
        )
        crm = Crm(place, seed=seed, messages=size.messages, recipients=size.recipients, span_s=size.span_s)
        mischief = Mischief(place, strikes)
        crm.start()
        mischief.start()
        _watch(place, mischief, strikes, progress)
        mischief.finish()
        assert not mischief.problems, f"the faults could not be carried out: {mischief.problems}"
        crm.finish(within_s=size.rest_s)
        _rest(place, mischief, size, progress)
        evidence = gather(
            place,
            offers=crm.offers,
            mutes=mischief.mutes,
            flushed_at=mischief.flushed_at,
            hostile_answers=mischief.hostile_answers,
            died=mischief.died,
        )
    verdict = judge(evidence)
    return Outcome(strikes=strikes, evidence=evidence, verdict=verdict, seconds=time.monotonic() - begun)


def _watch(place: Place, mischief: Mischief, strikes: list[Strike], progress: Progress) -> None:
    while mischief.ended < len(strikes):
        _tell(place, mischief, progress)
        time.sleep(1)


def _rest(place: Place, mischief: Mischief, size: Size, progress: Progress) -> None:
    """Wait until nothing is left to do, or the time is over: what is unfinished then, the judge finds."""
    deadline = time.monotonic() + size.rest_s
    while time.monotonic() < deadline:
        left = _tell(place, mischief, progress)
        if left == 0 and not (size.rest_s > _VISIBILITY_S and still_in_broker(place.broker.client)):
            return
        time.sleep(0.25)


#: A task whose worker was killed comes back after this; a short run leaves it to the broker.
_VISIBILITY_S = 130.0


def _tell(place: Place, mischief: Mischief, progress: Progress) -> int | None:
    mischief.revive()
    try:
        stored, left = stored_so_far(place), unfinished(place)
    except DatabaseAway:
        return None
    progress(mischief.ended, stored, left)
    return left
