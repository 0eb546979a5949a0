"""Carries notices to people, over Apprise: in the background, in bounded time, without ever showing an address, for
most of them hold a secret. What the notices say is not its business."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from pydantic import SecretStr

log = structlog.get_logger(__name__)

#: How long one notice may take to be delivered everywhere.
WITHIN_S = 15.0
#: They tell of addresses and of what is sent there.
_INDISCREET = ("apprise", "oauthlib", "requests_oauthlib")


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What people are told. No texts, no numbers: it goes to other people's servers."""

    title: str
    body: str
    #: Good news?
    good: bool = False


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A notice, and what is to be done once at least one address has taken it."""

    notice: Notice
    told: Callable[[], None]


class _Answer(NamedTuple):
    place: int
    #: None: it was taken.
    problem: str | None


class Courier:
    """One for each process. Runs one round at a time; an address that hangs costs one thread, never more."""

    def __init__(self, addresses: Sequence[SecretStr], *, within_s: float = WITHIN_S) -> None:
        self._addresses = tuple(addresses)
        self._within_s = within_s
        self._round: threading.Thread | None = None
        #: Who is at which address, by its place in the list.
        self._visits: dict[int, threading.Thread] = {}

    @property
    def busy(self) -> bool:
        return self._round is not None and self._round.is_alive()

    def carry(self, errands: Sequence[Errand]) -> None:
        """Run the errands in the background, one after another. Without addresses there is nobody to wait for."""
        if not self._addresses:
            for errand in errands:
                errand.told()
            return
        self._round = threading.Thread(target=self._carry, args=(tuple(errands),), name="courier", daemon=True)
        self._round.start()

    def _carry(self, errands: tuple[Errand, ...]) -> None:
        try:
            for errand in errands:
                self._deliver(errand)
        except Exception as error:
            # Most likely the database, while the telling was recorded: what is not recorded is told again.
            log.warning("alert_not_recorded", problem=type(error).__name__, advice="it is told again in a minute")

    def _deliver(self, errand: Errand) -> None:
        """At all addresses at once. The first that takes the notice settles it; the others are still waited for."""
        deadline = time.monotonic() + self._within_s
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        awaited = set(range(1, len(self._addresses) + 1))
        told = False
        for place, address in enumerate(self._addresses, 1):
            self._visit(place, address, errand.notice, answers)
        while awaited:
            try:
                answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            awaited.discard(answer.place)
            if answer.problem is not None:
                _lament(answer.place, answer.problem)
            elif not told:
                told = True
                errand.told()
        for place in sorted(awaited):
            _lament(place, "no answer in time")

    def _visit(self, place: int, address: SecretStr, notice: Notice, answers: "queue.SimpleQueue[_Answer]") -> None:
        earlier = self._visits.get(place)
        if earlier is not None and earlier.is_alive():
            answers.put(_Answer(place, "it still hangs on an earlier notice"))
            return

        def visit() -> None:
            try:
                problem = _hand_over(address, notice)
            except Exception as error:
                problem = type(error).__name__
            answers.put(_Answer(place, problem))

        self._visits[place] = threading.Thread(target=visit, name=f"courier-{place}", daemon=True)
        self._visits[place].start()


def _hand_over(address: SecretStr, notice: Notice) -> str | None:
    """Give one notice to one address; None when it was taken, otherwise what was wrong, without the address."""
    import apprise  # half a second that only those pay who are alarmed

    for name in _INDISCREET:
        logging.getLogger(name).propagate = False
    asset = apprise.AppriseAsset(
        app_id="Truetick",
        app_desc="Truetick",
        async_mode=False,
        language="en",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        allow_templates=False,
        # A POST that is redirected arrives as a GET, if at all: that is no delivery.
        http_redirects=False,
        # Its own time limit would put the work into threads that hold up the end of the process.
        service_timeout=0,
    )
    receiver = apprise.Apprise(asset=asset)
    if not receiver.add(address.get_secret_value()):
        return "Apprise does not know such an address"
    taken = receiver.notify(
        title=notice.title,
        body=notice.body,
        notify_type=apprise.NotifyType.SUCCESS if notice.good else apprise.NotifyType.FAILURE,
        body_format=apprise.NotifyFormat.TEXT,
    )
    return None if taken else "it did not take the notice"


def _lament(place: int, problem: str) -> None:
    log.warning(
        "alert_not_delivered",
        address=place,
        problem=problem,
        advice=f"check the address in place {place} of TRUETICK_ALERT_URLS",
    )
