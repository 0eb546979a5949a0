"""Takes what a CRM enqueues as a Celery task into the outbox: once, and however long the database is away."""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from worker.channels import leases, registry
from worker.channels.choice import Wish, choose
from worker.database import DatabaseAway, snapshot, transaction
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.domain.errors import Conflict, InvalidRequest, NotFound, TruetickError
from worker.domain.message_request import SendRequest, parse_request
from worker.domain.retry import backoff_s
from worker.outbox.enqueue import (
    PRIORITY_RANK,
    Defaults,
    Enqueued,
    Order,
    address_of,
    enqueue_all,
    enqueue_unreadable,
)
from worker.outbox.events import Source
from worker.parts import Parts
from worker.readiness import trouble_of

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.2
MOST_PAUSE_S = 5.0


#: After this the broker gets the task back, before it would think that this worker is lost.
LONGEST_WAIT_S = 60.0


class DatabaseStillAway(Exception):
    """The task has to go back to the broker: the wait was long, or the process has to stop."""


def take_in(parts: Parts, given: Mapping[str, Any], *, task_id: str, waited_s: float = 0.0) -> Enqueued:
    """Store a CRM's request and say what became of it.

    What cannot be sent is stored as failed with its reason, for nobody would see an exception. Runs again after a
    crash without making a second message: the task's own id is the message's id where the request names none. Waits a
    while for a database that is away, then raises DatabaseStillAway: the broker keeps the task and asks again.
    A message's place in the queue counts from when its task was taken from the broker, `waited_s` seconds ago.
    """
    pauses = 0
    begun = time.monotonic() - waited_s
    while True:
        try:
            with transaction(parts.engine) as connection:
                received_at = parts.clock() - timedelta(seconds=time.monotonic() - begun)
                return _store(connection, parts, given, task_id, received_at)
        except (DataError, IntegrityError):
            raise
        except (DBAPIError, *DatabaseAway) as error:
            pauses += 1
            pause_s = backoff_s(pauses, first_s=FIRST_PAUSE_S, most_s=MOST_PAUSE_S)
            trouble = trouble_of(parts.engine, error)
            log.warning(
                trouble.code if trouble else "database_away",
                problem=type(error).__name__,
                advice=trouble.message if trouble else "the task waits",
                task_id=task_id,
                again_in_s=pause_s,
            )
            if parts.stopping.wait(pause_s) or time.monotonic() - begun > LONGEST_WAIT_S:
                raise DatabaseStillAway from None


def needs_wake(parts: Parts, enqueued: Enqueued) -> bool:
    """Must a drain run be woken for this message, or does its channel's run see it anyway (or cannot send now)?"""
    if not enqueued.created:
        return False
    try:
        with snapshot(parts.engine) as connection:
            return leases.needs_wake(connection, enqueued.channel_id, parts.clock())
    except (DBAPIError, *DatabaseAway):
        return True


def send_request(
    parts: Parts, connection: Connection, request: SendRequest, *, message_id: UUID, **options: Any
) -> Enqueued:
    """Store one validated request on its channel. Raises what `send_requests` returns."""
    [became] = send_requests(parts, connection, [(request, message_id)], **options)
    if isinstance(became, TruetickError):
        raise became
    return became


def send_requests(
    parts: Parts,
    connection: Connection,
    requests: Sequence[tuple[SendRequest, UUID]],
    *,
    now: datetime,
    source: Source,
    keep_refused: bool = False,
) -> list[Enqueued | TruetickError]:
    """Store validated requests on the channels they name, or that their pools choose; one answer each, in order.

    Each comes with the id that holds where it names none. NotFound for a channel or pool that does not exist; the
    rest as `enqueue_all`.
    """
    channels = _channels(parts, connection, [request for request, _ in requests], now)
    orders = {}
    answers: list[Enqueued | TruetickError | None] = [None] * len(requests)
    for place, ((request, message_id), channel) in enumerate(zip(requests, channels, strict=True)):
        if isinstance(channel, TruetickError):
            answers[place] = channel
        else:
            orders[place] = Order(request=request, channel_id=channel, message_id=message_id)
    defaults = Defaults(
        region=parts.settings.default_region,
        on_doubt=parts.settings.on_doubt,
        quiet_hours_for=parts.settings.quiet_hours_for if parts.settings.quiet_hours_text else None,
    )
    became = enqueue_all(
        connection, list(orders.values()), defaults=defaults, now=now, source=source, keep_refused=keep_refused
    )
    for place, answer in zip(orders, became, strict=True):
        answers[place] = answer
    return [answer for answer in answers if answer is not None]


def _channels(
    parts: Parts, connection: Connection, requests: Sequence[SendRequest], now: datetime
) -> list[int | TruetickError]:
    """The id of each request's channel, or what is wrong with the name of its channel or pool."""
    pools = [request.pool or (None if request.names_channel else parts.settings.default_pool) for request in requests]
    pooled = {place: pool for place, pool in enumerate(pools) if pool is not None}
    by_name = _named(
        parts, connection, {request.channel for place, request in enumerate(requests) if place not in pooled}, now
    )
    wishes = [
        Wish(
            pool=pool,
            recipient=address_of(requests[place].to, requests[place].region or parts.settings.default_region),
            rank=PRIORITY_RANK[requests[place].priority],
        )
        for place, pool in pooled.items()
    ]
    stopped_for = timedelta(seconds=parts.settings.failover_after_s)
    chosen = iter(choose(connection, wishes, now=now, stopped_for=stopped_for) if wishes else ())
    return [next(chosen) if place in pooled else by_name[request.channel] for place, request in enumerate(requests)]


def _named(
    parts: Parts, connection: Connection, names: Collection[str], now: datetime
) -> dict[str, int | TruetickError]:
    """The ids of channels by name, or what is wrong with the name."""
    found: dict[str, int | TruetickError] = {}
    for name in names:
        try:
            if name == DEFAULT_CHANNEL:
                cap = parts.settings.daily_cap
                found[name] = registry.ensure_default(connection, parts.settings.pace, now, daily_cap=cap)
            else:
                found[name] = registry.channel_id(connection, name)
        except NotFound as error:
            found[name] = error
    return found


def _store(connection: Connection, parts: Parts, given: Mapping[str, Any], task_id: str, now: datetime) -> Enqueued:
    message_id = _as_uuid(given.get("message_id"), task_id)

    def refuse(error: TruetickError, message_id: UUID) -> Enqueued:
        channel_id = registry.ensure_default(connection, parts.settings.pace, now, daily_cap=parts.settings.daily_cap)
        return enqueue_unreadable(
            connection, given, error, channel_id=channel_id, message_id=message_id, now=now, source=Source.API
        )

    try:
        try:
            request = parse_request(dict(given))
            return send_request(
                parts, connection, request, now=now, message_id=message_id, source=Source.API, keep_refused=True
            )
        except (InvalidRequest, NotFound) as error:
            return refuse(error, message_id)
    except Conflict as conflict:
        log.warning("conflicting_request", task_id=task_id, advice=conflict.message)
        # The first message keeps its id; this one is kept apart as failed, so that it is not dropped in silence.
        return refuse(conflict, uuid5(NAMESPACE_URL, f"truetick:conflict:{task_id}"))


def _as_uuid(chosen: object, task_id: str) -> UUID:
    """The caller's message id, else the task's id; both stay the same when the broker delivers the task again."""
    for candidate in (chosen, task_id):
        try:
            return UUID(str(candidate))
        except (ValueError, RecursionError):
            continue
    return uuid5(NAMESPACE_URL, f"truetick:task:{task_id}")
