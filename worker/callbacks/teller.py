"""Has every endpoint told what it does not know yet: numbers changes, and starts a run for each endpoint with work.

Each run has a thread of its own, so that an endpoint that hangs or is slow delays no other, nor whoever looks.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog

from worker.callbacks import endpoints, parked
from worker.callbacks.delivery import Delivery
from worker.database import snapshot, transaction
from worker.outbox.feed import NUMBERED_AT_ONCE, anything_unnumbered, number_changes
from worker.parts import Parts
from worker.readiness import trouble_of

log = structlog.get_logger(__name__)

#: How often what was delivered long ago is forgotten, in seconds.
FORGET_EVERY_S = 60.0
#: How many transactions of numbering one look makes; the next one goes on.
MOST_NUMBERINGS = 20


class Teller:
    """One for each process. `look` is called by one thread at a time."""

    def __init__(self) -> None:
        self._runs: dict[int, tuple[Delivery, threading.Thread]] = {}
        self._forget_at = 0.0

    def look(self, parts: Parts) -> None:
        """One look; returns at once, the telling goes on in the background. Cheap when nothing is new: without any
        endpoint it is one query."""
        if not self._anybody(parts):
            return
        self._number(parts)
        now = parts.clock()
        with snapshot(parts.engine) as connection:
            todo = endpoints.with_work(connection, now)
        for row in todo:
            # Where the environment names no address, another process's environment may.
            if row.address is not None or parts.settings.callback_url is not None:
                self._serve(parts, row.id, row.name)
        self._poke_runs()
        self._forget(parts)

    def until_idle(self, within_s: float) -> bool:
        """Wait for the runs that are under way. True when all have come to their end."""
        deadline = time.monotonic() + within_s
        for _, thread in list(self._runs.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for _, thread in self._runs.values())

    def _anybody(self, parts: Parts) -> bool:
        with snapshot(parts.engine) as connection:
            found = endpoints.all_endpoints(connection)
        if _lacks_default(parts, found):
            with transaction(parts.engine) as connection:
                endpoints.ensure_default(connection, parts.clock())
        return _anybody_reachable(parts, found)

    def _number(self, parts: Parts) -> None:
        with snapshot(parts.engine) as connection:
            if not anything_unnumbered(connection):
                return
        for _ in range(MOST_NUMBERINGS):
            with transaction(parts.engine) as connection:
                numbered = number_changes(connection)
            if numbered < NUMBERED_AT_ONCE or parts.stopping.is_set():
                return

    def _serve(self, parts: Parts, endpoint_id: int, name: str) -> None:
        running = self._runs.get(endpoint_id)
        if running is not None and running[1].is_alive():
            return
        delivery = Delivery(parts, endpoint_id, name)
        thread = threading.Thread(target=_run, args=[parts, delivery, name], name=f"callbacks-{name}")
        self._runs[endpoint_id] = (delivery, thread)
        thread.start()

    def _poke_runs(self) -> None:
        for endpoint_id, (delivery, thread) in list(self._runs.items()):
            if thread.is_alive():
                delivery.poke()
            else:
                del self._runs[endpoint_id]

    def _forget(self, parts: Parts) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + FORGET_EVERY_S
        now = parts.clock()
        with snapshot(parts.engine) as connection:
            if not parked.anything_to_forget(connection, now):
                return
        while not parts.stopping.is_set():
            with transaction(parts.engine) as connection:
                if parked.forget_delivered(connection, now) < parked.BATCH:
                    return


def anything_to_do(parts: Parts) -> bool:
    """Would a look find something: news, a callback that is due again, what may be forgotten? Without any endpoint
    it is one query."""
    now = parts.clock()
    with snapshot(parts.engine) as connection:
        found = endpoints.all_endpoints(connection)
        if _lacks_default(parts, found):
            return True
        return _anybody_reachable(parts, found) and (
            anything_unnumbered(connection)
            or bool(endpoints.with_work(connection, now))
            or parked.anything_to_forget(connection, now)
        )


def _lacks_default(parts: Parts, found: Sequence[Any]) -> bool:
    """The environment describes an endpoint that has no row yet. It is told what happens from its row on."""
    return parts.settings.callback_url is not None and not any(row.name == endpoints.DEFAULT for row in found)


def _anybody_reachable(parts: Parts, found: Sequence[Any]) -> bool:
    return parts.settings.callback_url is not None or any(row.address is not None for row in found)


def anything_new(parts: Parts) -> bool:
    """Has something happened that nobody has told the endpoints yet?"""
    with snapshot(parts.engine) as connection:
        wanted = parts.settings.callback_url is not None or endpoints.any_endpoint(connection)
        return wanted and anything_unnumbered(connection)


def _run(parts: Parts, delivery: Delivery, name: str) -> None:
    try:
        delivery.run()
    except Exception as error:
        trouble = trouble_of(parts.engine, error)
        if trouble is None:
            log.exception("delivery_broke", endpoint=name)
        else:
            # What was being told is told again once the database is back.
            log.warning(trouble.code, endpoint=name, advice=trouble.message)
