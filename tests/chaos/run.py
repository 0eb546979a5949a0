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

#: A mute spell is noticed within so many times the time that a tick may take: WaSender has to be asked once more
#: after it, and the pauses between two questions double.
NOTICED_AFTER_TIMEOUTS = 3.0


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
    #: How long after the last fault nothing may move before what is left counts as unfinished. Message logs prove
    #: that WaSender never had a message after two minutes; so long also waits a killed worker's task in the broker.
    rest_s: float = 150.0
    #: Without, doubt is left to webhooks and policy, and what the broker still holds is left to it: that is quicker.
    with_logs: bool = True


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
    with standing(
        setup, folder, seed=seed, channels=size.channels, with_logs=size.with_logs, settings=given
    ) as place:
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
        _rest(place, mischief, crm, size, progress)
        crm.finish()
        evidence = gather(
            place,
            offers=crm.offers,
            mutes=mischief.mutes,
            flushed_at=mischief.flushed_at,
            hostile_answers=mischief.hostile_answers,
            died=mischief.died,
            disturbances=mischief.disturbances,
            notice_within_s=NOTICED_AFTER_TIMEOUTS * float(given["TRUETICK_ACK_TIMEOUT_S"]),
        )
    verdict = judge(evidence)
    return Outcome(strikes=strikes, evidence=evidence, verdict=verdict, seconds=time.monotonic() - begun)


def _watch(place: Place, mischief: Mischief, strikes: list[Strike], progress: Progress) -> None:
    while mischief.ended < len(strikes):
        _tell(place, mischief, progress)
        time.sleep(1)


def _rest(place: Place, mischief: Mischief, crm: Crm, size: Size, progress: Progress) -> None:
    """Wait until nothing is left to do, or nothing moves any more: what is unfinished then, the judge finds."""
    last, moved_at = (-1, -1), time.monotonic()  # nothing known yet
    while True:
        left = crm.left, _tell(place, mischief, progress)
        waiting = size.with_logs and still_in_broker(place.broker.client)
        if left == (0, 0) and not waiting:
            return
        if left != last:
            last, moved_at = left, time.monotonic()
        if time.monotonic() - moved_at > size.rest_s:
            return
        time.sleep(0.25)


def _tell(place: Place, mischief: Mischief, progress: Progress) -> int:
    mischief.revive()
    try:
        stored, left = stored_so_far(place), unfinished(place)
    except DatabaseAway:
        return -1
    progress(mischief.ended, stored, left)
    return left
