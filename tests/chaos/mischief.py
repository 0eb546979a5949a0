"""Carries out a plan: each strike in a thread of its own, undone when its time is over. Draws nothing by itself."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from tests.chaos.evidence import Disturbance, Mute
from tests.chaos.hostile import hostile_webhooks
from tests.chaos.place import Place
from tests.chaos.plan import Strike
from wasender_sandbox.control import Sandbox

#: Faults that can hold up the noticing of a mute spell, and how long their traces last: reconnecting has its pauses.
DISTURBING = ("worker", "beat", "broker", "database", "gateway", "faults")
TRACES_S = 10.0
GOOD_WEBHOOKS = {"lost": 0.0, "doubled": 0.0, "reordered": 0.0, "early": 0.0, "delay": 0}


class Mischief:
    """Runs strikes at their times; knows what it did that the judge has to know."""

    def __init__(self, place: Place, strikes: Sequence[Strike]) -> None:
        self.place = place
        self.mutes: list[Mute] = []
        self.disturbances: list[Disturbance] = []
        self.flushed_at: list[float] = []
        self.hostile_answers: list[int] = []
        self.problems: list[str] = []
        #: Processes that ended although nobody ended them, with their last words.
        self.died: list[str] = []
        self.ended = 0
        self.begun_at = 0.0
        #: Set to end all strikes early.
        self.enough = threading.Event()
        self._lock = threading.Lock()
        self.processes = threading.Lock()
        #: Putting something right takes its time too; the next fault of the same resource waits for that.
        self._turns = {strike.resource: threading.Lock() for strike in strikes}
        self._threads = [threading.Thread(target=self._run, args=(strike,), daemon=True) for strike in strikes]

    def start(self) -> None:
        self.begun_at = time.time()
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Wait until all strikes are over, and put everything right."""
        for thread in self._threads:
            thread.join()
        put_right(self.place)

    def revive(self) -> None:
        """Start again what ended by itself, as a supervisor does; the judge is told."""
        with self.processes:
            for name in self.place.stack.ended():
                words = ["without a word", *self.place.stack.log(name).strip().splitlines()]
                grave = [line for line in words if "critical" in line]
                self.died.append(f"{name}: {(grave or words)[-1]}")
                self.place.stack.kill(name)
                self.place.start(name)

    def _run(self, strike: Strike) -> None:
        if self.enough.wait(max(0.0, self.begun_at + strike.at_s - time.time())):
            return
        try:
            with ExitStack() as stack:
                stack.enter_context(self._turns[strike.resource])
                stack.enter_context(self._noting(strike))
                sandbox = stack.enter_context(self.place.sandbox())
                stack.enter_context(CARRY_OUT[strike.kind](self, sandbox, strike))
                self.enough.wait(strike.for_s)
        except Exception as error:
            with self._lock:
                self.problems.append(f"{strike}: {type(error).__name__}: {error}")
        with self._lock:
            self.ended += 1

    @contextmanager
    def _noting(self, strike: Strike) -> Iterator[None]:
        began_at = time.time()
        try:
            yield
        finally:
            if strike.resource.partition(":")[0] in DISTURBING:
                self.disturbances.append(Disturbance(began_at=began_at, ended_at=time.time() + TRACES_S))


def put_right(place: Place) -> None:
    """Whatever is left of the faults: gone. All sessions connected."""
    with place.sandbox() as sandbox:
        sandbox.clear_faults()
        for name in place.told:
            sandbox.webhooks(**GOOD_WEBHOOKS, channel=name)
        sandbox.switch("clock_skew_s", 0)
        for name in place.channels:
            sandbox.lie(name, None)
            sandbox.unmute(name)
            sandbox.scan(name)


# --- our own processes and servers


@contextmanager
def _process_killed(mischief: Mischief, _: Sandbox, strike: Strike) -> Iterator[None]:
    name = strike.target or strike.kind.removesuffix("_killed")
    mischief.revive()
    with mischief.processes:
        mischief.place.stack.kill(name)
    try:
        yield
    finally:
        with mischief.processes:
            mischief.place.start(name)


@contextmanager
def _broker_flushed(mischief: Mischief, _: Sandbox, strike: Strike) -> Iterator[None]:
    mischief.place.broker.client.flushall()
    mischief.flushed_at.append(time.time())
    yield


@contextmanager
def _broker_restarted(mischief: Mischief, _: Sandbox, strike: Strike) -> Iterator[None]:
    mischief.place.broker.kill()
    try:
        yield
    finally:
        mischief.place.broker.start()


def _broker_frozen(mischief: Mischief, _: Sandbox, strike: Strike) -> AbstractContextManager[None]:
    return mischief.place.broker.frozen()


def _database_away(mischief: Mischief, _: Sandbox, strike: Strike) -> AbstractContextManager[None]:
    return mischief.place.database


# --- the way to the gateway, and its answers


@contextmanager
def _armed(sandbox: Sandbox, *faults: dict[str, Any]) -> Iterator[None]:
    armed = [sandbox.fault(**fault) for fault in faults]
    try:
        yield
    finally:
        for fault in armed:
            sandbox.clear_faults(fault)


def _gateway_down(_: Mischief, sandbox: Sandbox, strike: Strike) -> AbstractContextManager[None]:
    return _armed(sandbox, {"kind": strike.details["how"], "endpoint": "*"})


def _gateway_slow(_: Mischief, sandbox: Sandbox, strike: Strike) -> AbstractContextManager[None]:
    return _armed(sandbox, {"kind": "delay", "endpoint": "*", "seconds": strike.details["delay_s"]})


def _sends_break(kind: str | None, when: str | None, mischief: Mischief, sandbox: Sandbox, strike: Strike) -> Any:
    fault = {"kind": kind or strike.details["how"], "when": when, "count": strike.details["count"]}
    fault |= {"channel": strike.target}
    if "retry_after" in strike.details:
        fault |= {"retry_after": strike.details["retry_after"]}
    return _armed(sandbox, fault)


def _breaking(kind: str | None = None, when: str | None = None) -> "CarryOut":
    return lambda *given: _sends_break(kind, when, *given)


# --- sessions


@contextmanager
def _session_down(_: Mischief, sandbox: Sandbox, strike: Strike) -> Iterator[None]:
    sandbox.set_status(strike.target, strike.details["word"], quiet=strike.details["quiet"])
    try:
        yield
    finally:
        sandbox.scan(strike.target)


@contextmanager
def _session_flaps(mischief: Mischief, sandbox: Sandbox, strike: Strike) -> Iterator[None]:
    each_s = strike.for_s / strike.details["drops"] / 2
    for _ in range(strike.details["drops"] - 1):
        sandbox.set_status(strike.target, "connecting")
        mischief.enough.wait(each_s)
        sandbox.scan(strike.target)
        mischief.enough.wait(each_s)
    yield


@contextmanager
def _claims_to_be_up(_: Mischief, sandbox: Sandbox, strike: Strike) -> Iterator[None]:
    sandbox.lie(strike.target, "connected")
    sandbox.set_status(strike.target, strike.details["word"], quiet=True)
    try:
        yield
    finally:
        sandbox.scan(strike.target)


@contextmanager
def _claims_to_be_down(_: Mischief, sandbox: Sandbox, strike: Strike) -> Iterator[None]:
    sandbox.lie(strike.target, strike.details["word"])
    try:
        yield
    finally:
        sandbox.lie(strike.target, None)


@contextmanager
def _mute(mischief: Mischief, sandbox: Sandbox, strike: Strike) -> Iterator[None]:
    then = strike.kind.removeprefix("mute_then_")
    sandbox.mute(strike.target, then=then)
    began_at = time.time()
    try:
        yield
    finally:
        mischief.mutes.append(Mute(channel=strike.target, began_at=began_at, ended_at=time.time(), then=then))
        sandbox.unmute(strike.target)


# --- webhooks, and the gateway's clock


@contextmanager
def _webhooks_trouble(_: Mischief, sandbox: Sandbox, strike: Strike) -> Iterator[None]:
    sandbox.webhooks(**strike.details, channel=strike.target)
    try:
        yield
    finally:
        sandbox.webhooks(**GOOD_WEBHOOKS, channel=strike.target)


def _webhooks_hostile(mischief: Mischief, sandbox: Sandbox, strike: Strike) -> AbstractContextManager[None]:
    pending = [entry for entry in sandbox.ledger(acked=False) if entry.failed_reason is None]
    rng = random.Random(strike.number)
    for _ in range(3):
        mischief.hostile_answers += hostile_webhooks(mischief.place, rng, pending[-5:])
    return nullcontext()


@contextmanager
def _clock_off(_: Mischief, sandbox: Sandbox, strike: Strike) -> Iterator[None]:
    sandbox.switch("clock_skew_s", strike.details["skew_s"])
    try:
        yield
    finally:
        sandbox.switch("clock_skew_s", 0)


CarryOut = Callable[[Mischief, Sandbox, Strike], AbstractContextManager[None]]

CARRY_OUT: dict[str, CarryOut] = {
    **dict.fromkeys(("worker_killed", "beat_killed", "web_killed"), _process_killed),
    "broker_flushed": _broker_flushed,
    "broker_restarted": _broker_restarted,
    "broker_frozen": _broker_frozen,
    "database_restarted": _database_away,
    "database_away": _database_away,
    "gateway_down": _gateway_down,
    "gateway_slow": _gateway_slow,
    "hangs_before": _breaking("hang", "before"),
    "hangs_after": _breaking("hang", "after"),
    "breaks_before": _breaking(when="before"),
    "breaks_after": _breaking(when="after"),
    "answers_cut": _breaking(when="after"),
    "refuses_spuriously": _breaking("not_connected"),
    "throttles": _breaking("throttled"),
    "session_down": _session_down,
    "session_flaps": _session_flaps,
    "claims_to_be_up": _claims_to_be_up,
    "claims_to_be_down": _claims_to_be_down,
    **dict.fromkeys(("mute_then_later", "mute_then_failed", "mute_then_stuck"), _mute),
    **dict.fromkeys(
        ("webhooks_lost", "webhooks_doubled", "webhooks_reordered", "webhooks_early", "webhooks_delayed"),
        _webhooks_trouble,
    ),
    "webhooks_hostile": _webhooks_hostile,
    "clock_off": _clock_off,
}
