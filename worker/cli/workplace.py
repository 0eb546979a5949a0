"""Where the commands work: on the database directly, with a word to the workers through the broker afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import DBAPIError

from worker.logs import configure_logging
from worker.parts import Parts, parts
from worker.readiness import database_away, require_ready
from worker.self_report import QUEUES_COMMAND, is_ours
from worker.settings import settings

#: How long a worker may take to say that it is there.
WORKER_ANSWERS_S = 1.0


@contextmanager
def workplace() -> Iterator[Parts]:
    """This process's parts, on a database that is there and migrated. Raises DatabaseNotReady."""
    given = settings()
    # A command says what is wrong in its own sentences; standard output belongs to its answer.
    configure_logging(given.model_copy(update={"log_level": "CRITICAL"}))
    here = parts()
    require_ready(here.engine)
    try:
        yield here
    except DBAPIError as error:
        raise database_away(here.engine, error) from None


class Workers(StrEnum):
    """What is known of the workers after asking them through the broker."""

    ANSWER = "answer"
    SILENT = "silent"
    #: The broker itself is away, or full.
    UNREACHABLE = "unreachable"


#: What is said where a check was asked for and no worker has taken it up for sure.
NOT_CHECKED = {
    Workers.SILENT: "No worker answers. It is checked once one runs: truetick up",
    Workers.UNREACHABLE: "The broker cannot be reached or is full, so no worker was told. It is checked once workers "
    "and beat work again; truetick check says what is wrong.",
}


def wake_drain() -> None:
    """Tell the workers that there is something to send; harmless when they or the broker are away."""
    from worker import tasks  # Celery, for the commands that need it

    tasks.wake_drain()


def wake_callbacks() -> None:
    """Tell the workers that endpoints have something to be told; harmless likewise."""
    from worker import tasks

    tasks.wake_callbacks()


def ask_for_check() -> Workers:
    """Have the channels checked now rather than at the next interval."""
    from worker import tasks
    from worker.celery_app import BrokerTrouble

    try:
        tasks.check_channels.apply_async(expires=60)
    except BrokerTrouble:
        return Workers.UNREACHABLE
    return look_for_workers()


def look_for_workers() -> Workers:
    """Ask our workers for a sign of life. The first one's answer is enough, where no CRM's own worker was quicker."""
    from worker.celery_app import BrokerTrouble

    try:
        first = _queues(limit=1)
        found = any(map(is_ours, first)) or (bool(first) and any(map(is_ours, _queues(limit=None))))
    except BrokerTrouble:
        return Workers.UNREACHABLE
    return Workers.ANSWER if found else Workers.SILENT


def _queues(*, limit: int | None) -> list[Any]:
    """What the workers listen on that answer. Beat answers `ping` as well, but not this question."""
    from worker.celery_app import app

    answers = app.control.broadcast(QUEUES_COMMAND, reply=True, limit=limit, timeout=WORKER_ANSWERS_S)
    return [queues for answer in answers or () for queues in answer.values()]
