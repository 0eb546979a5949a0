"""The Celery tasks: names, arguments and wake-ups. What they do stands in the stories they call."""

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from celery import Task
from celery.exceptions import Reject

from worker import daily_report, doubt, evidence, health, hearing, intake, maintenance, recovery
from worker import sweep as sweeping
from worker.callbacks.teller import Teller, anything_new, anything_to_do
from worker.celery_app import BrokerTrouble, app
from worker.database import MOST_TRIES, was_broken_off
from worker.drain import Drainer
from worker.masking import MaskedRequest
from worker.parts import parts
from worker.readiness import trouble_of

log = structlog.get_logger(__name__)

_drainer = Drainer()
_teller = Teller()


def wake_drain() -> None:
    """Ask for a drain run."""
    _wake(drain, expires=60)


def wake_callbacks() -> None:
    """Have endpoints told now."""
    _wake(deliver_callbacks, expires=60)


def wake_hearing() -> None:
    """Have what webhooks said used now."""
    _wake(hear_webhooks, expires=60)


def _wake(task: Task, **options: int) -> None:
    """A broker that is away or full costs only time: the sweep finds due work without it."""
    try:
        task.apply_async(**options)
    except BrokerTrouble as error:
        problem = type(error).__name__
        log.warning("wake_up_not_published", task=task.name, problem=problem, advice="the next sweep finds the work")


@app.task(name="truetick.send_message", bind=True, acks_late=True, reject_on_worker_lost=True, Request=MaskedRequest)
def send_message(self: Any, /, *positional: Any, **request: Any) -> str:
    """Enqueue a WhatsApp message; the keyword arguments are the request. Returns the message id."""
    if positional:
        # Nobody can tell what they mean. As a field that does not exist, they make the message fail with a reason.
        request["positional_arguments"] = len(positional)
    try:
        waited_s = time.monotonic() - self.request.received_monotonic
        enqueued = intake.take_in(parts(), request, task_id=self.request.id, waited_s=waited_s)
    except intake.DatabaseStillAway:
        raise Reject("the database is away", requeue=True) from None
    if intake.needs_wake(parts(), enqueued):
        wake_drain()
    return str(enqueued.message_id)


def _database_permitting(work: Callable[[], None]) -> Callable[[], None]:
    """A database that is away or not migrated is said in one line, with advice; the next tick tries again.

    Work that was broken off by a deadlock is done again at once, for all of it is harmless when it is done twice.
    """

    @wraps(work)
    def run() -> None:
        for tries in range(1, MOST_TRIES + 1):
            try:
                return work()
            except Exception as error:
                trouble = trouble_of(parts().engine, error)
                if trouble is None:
                    raise
                log.error(trouble.code, advice=trouble.message)
                if not was_broken_off(error) or tries == MOST_TRIES:
                    return None
        return None

    return run


def _then_tell(work: Callable[[], None]) -> Callable[[], None]:
    """What the CRM can see may have changed by this work: its endpoints learn it at once, not by the next sweep."""

    @wraps(work)
    def run() -> None:
        work()
        if anything_new(parts()):
            wake_callbacks()

    return run


@app.task(name="truetick.drain")
@_database_permitting
@_then_tell
def drain() -> None:
    """Send what is due, on all channels that may send."""
    _drainer.drain(parts(), wake_drain)


def _one_at_a_time(work: Callable[[], None]) -> Callable[[], None]:
    """A tick that finds its former run still at work in this process has nothing to add, so it takes no thread."""
    at_work = threading.Lock()

    @wraps(work)
    def run() -> None:
        if at_work.acquire(blocking=False):
            try:
                work()
            finally:
                at_work.release()

    return run


def _once_more_if_called(work: Callable[[], None]) -> Callable[[], None]:
    """One run at a time in this process; a call that comes during a run makes that run begin again."""
    at_work = threading.Lock()
    called = threading.Event()

    @wraps(work)
    def run() -> None:
        called.set()
        while called.is_set() and at_work.acquire(blocking=False):
            try:
                called.clear()
                work()
            finally:
                at_work.release()

    return run


@app.task(name="truetick.check_channels")
@_one_at_a_time
@_database_permitting
def check_channels() -> None:
    """Ask WaSender whether the channels are connected."""
    health.check_channels(parts(), wake_drain)


@app.task(name="truetick.reconcile_messages")
@_once_more_if_called
@_database_permitting
@_then_tell
def reconcile_messages() -> None:
    """Ask WaSender what became of accepted messages."""
    if evidence.reconcile_messages(parts()):
        wake_drain()


@app.task(name="truetick.hear_webhooks")
@_once_more_if_called
@_database_permitting
@_then_tell
def hear_webhooks() -> None:
    """Use what webhooks have said."""
    hearing.hear_webhooks(parts(), wake_drain)


@app.task(name="truetick.deliver_callbacks")
@_once_more_if_called
@_database_permitting
def deliver_callbacks() -> None:
    """Tell endpoints of status changes; the telling itself goes on in threads of its own."""
    _teller.look(parts())


@app.task(name="truetick.resolve_doubts")
@_one_at_a_time
@_database_permitting
def resolve_doubts() -> None:
    """Judge messages whose fate is open; restart sessions that are mute."""
    recovery.recover(parts())
    if doubt.resolve(parts()):
        wake_drain()


@app.task(name="truetick.sweep")
@_one_at_a_time
@_database_permitting
def sweep() -> None:
    """Find what a lost worker, a lost wake-up or the time left behind."""
    swept = sweeping.sweep(parts())
    if swept.wake_drain:
        wake_drain()
    if swept.wake_hearing:
        wake_hearing()
    if anything_to_do(parts()):
        wake_callbacks()


@app.task(name="truetick.daily_health_check")
@_one_at_a_time
@_database_permitting
def daily_health_check() -> None:
    """Tell people what the last day was like."""
    daily_report.check_health(parts())


@app.task(name="truetick.weekly_maintenance")
@_one_at_a_time
@_database_permitting
def weekly_maintenance() -> None:
    """Forget what nobody needs any more."""
    maintenance.maintain(parts())
