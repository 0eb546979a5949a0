"""Serves one endpoint: takes up the changes it is behind with, tells what is due, and records what came of it.

One run at a time serves an endpoint, under a lease. Each turn is one transaction under the endpoint's row; a small
pool of threads tells. A run that is lost leaves nothing but its lease: what it was telling is told again.
"""

import queue
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from worker.callbacks import endpoints, fan_out, parked, waiting
from worker.callbacks.breaker import AT_ONCE, LONGEST_PAUSE_S, Standing, Verdict
from worker.callbacks.http_line import LONGEST_CALL_S
from worker.callbacks.lines import Line, open_line
from worker.callbacks.news import News, log_parked
from worker.callbacks.payload import Letter, status_letter
from worker.callbacks.waiting import Due, Told
from worker.database import transaction
from worker.domain.errors import NotConfigured
from worker.outbox.reading import by_seq
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How long a run that fell silent keeps an endpoint from the others, and how much of it is left when it is renewed.
LEASE = timedelta(seconds=40)
RENEW_BELOW = timedelta(seconds=30)
#: A call that begins this long before the lease's end is over before another run can overtake it.
LONGEST_CALL = timedelta(seconds=LONGEST_CALL_S + 1)
#: How long a turn waits for answers, unless somebody pokes it.
TURN_S = 1.0
#: Answers that come together share a transaction.
LINGER_S = 0.004


@dataclass(frozen=True, kw_only=True)
class _Answer:
    due: Due
    was_probe: bool
    #: None: it was not told at all, because the lease was too near its end.
    verdict: Verdict | None


class Delivery:
    """One run. `poke` may be called from any thread; everything else belongs to the one that calls `run`."""

    def __init__(self, parts: Parts, endpoint_id: int, name: str) -> None:
        self._parts = parts
        self._id = endpoint_id
        self._name = name
        self._token = secrets.token_hex(16)
        self._until = parts.clock()
        self._in_flight: dict[int, Due] = {}
        self._answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        #: There may be changes that it has not taken up.
        self._is_behind = threading.Event()
        self._is_behind.set()
        self._line: Line | None = None
        #: What the line was made from: another address or secret makes another line.
        self._line_of: tuple[str | None, str | None] | None = None

    def run(self) -> None:
        """Serve the endpoint until nothing is left to do for now, or somebody else serves it."""
        if not self._lease():
            return
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"callbacks-{self._name}")
        try:
            while self._turn(pool):
                pass
        finally:
            pool.shutdown()
            if self._line is not None:
                self._line.close()
            with transaction(self._parts.engine) as connection:
                endpoints.give_back(connection, self._id, self._token)

    def poke(self) -> None:
        """There may be something new to tell."""
        self._is_behind.set()
        self._answers.put(None)

    def _lease(self) -> bool:
        now = self._parts.clock()
        self._until = now + LEASE
        with transaction(self._parts.engine) as connection:
            return endpoints.lease(connection, self._id, self._token, now=now, until=self._until)

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """Take up changes, record answers, tell what is due. False when the run has come to its end."""
        if not self._catch_up():
            return False
        answers = self._collect(TURN_S if self._in_flight and not self._is_behind.is_set() else 0.0)
        with transaction(self._parts.engine) as connection:
            now = self._parts.clock()
            row = endpoints.hold(connection, self._id, self._token)
            if row is None:
                return False
            self._renew(connection, now)
            news = self._record(connection, row, answers, now)
            line, letters = self._next(connection, row, news.standing, now)
        news.log(self._name)
        for due, letter in letters:
            self._in_flight[due.message_seq] = due
            pool.submit(self._tell, line, due, letter, news.standing.is_in_trouble)
        return self._is_behind.is_set() or bool(self._in_flight) or bool(answers)

    def _catch_up(self) -> bool:
        """Take up some of the changes that the endpoint is behind with. False when this run has lost it."""
        if not self._is_behind.is_set():
            return True
        self._is_behind.clear()
        with transaction(self._parts.engine) as connection:
            taken_up = fan_out.take_up_changes(connection, self._id, self._token, now=self._parts.clock())
        if taken_up == fan_out.CHANGES_AT_ONCE:
            self._is_behind.set()
        return taken_up is not None

    def _collect(self, wait_s: float) -> list[_Answer]:
        """The answers that have come; waits for the first one, or for a poke."""
        came: list[_Answer] = []
        try:
            answer = self._answers.get(timeout=wait_s) if wait_s else self._answers.get_nowait()
            while answer is not None:
                came.append(answer)
                if len(came) == len(self._in_flight):
                    break
                answer = self._answers.get(timeout=LINGER_S)
        except queue.Empty:
            pass
        for one in came:
            del self._in_flight[one.due.message_seq]
        return came

    def _renew(self, connection: Connection, now: datetime) -> None:
        if self._until - now < RENEW_BELOW:
            self._until = now + LEASE
            endpoints.renew(connection, self._id, self._until)

    def _record(self, connection: Connection, row: Any, answers: list[_Answer], now: datetime) -> News:
        before = standing = Standing.of(row)
        told = [Told(due=one.due, verdict=one.verdict) for one in answers if one.verdict is not None]
        for one in answers:
            if one.verdict is not None:
                standing = standing.after(one.verdict, now, was_probe=one.was_probe)
        given_up = waiting.record(connection, self._id, told, now=now)
        if told:
            endpoints.keep_standing(connection, self._id, standing)
            if before.was_away(now) and not standing.is_in_trouble:
                waiting.wake_all(connection, self._id, now)
        if standing.is_in_trouble and any(not one.verdict.is_delivered for one in told):
            given_up += parked.park_overdue(connection, self._id, now)
        return News(before=before, standing=standing, parked=given_up)

    def _next(
        self, connection: Connection, row: Any, standing: Standing, now: datetime
    ) -> tuple[Line | None, list[tuple[Due, Letter]]]:
        """What goes next, and over which line."""
        room = 0 if self._parts.stopping.is_set() else standing.room(now, len(self._in_flight))
        line = self._line_to(connection, row, now) if room else None
        if line is None:
            return None, []
        heads: Sequence[Due] = ()
        if standing.is_in_trouble:
            # Perhaps it only refuses some: one that it has not refused yet tells best whether it works.
            heads = waiting.take_heads(
                connection, self._id, now=now, most=room, besides=self._in_flight, untried=True
            )
        heads = heads or waiting.take_heads(connection, self._id, now=now, most=room, besides=self._in_flight)
        messages = by_seq(connection, [due.message_seq for due in heads], now) if heads else {}
        return line, [(due, status_letter(due, messages[due.message_seq])) for due in heads]

    def _line_to(self, connection: Connection, row: Any, now: datetime) -> Line | None:
        """The line that the endpoint's row asks for. Without one, its callbacks wait, and are parked in time."""
        made_from = (row.address, row.secret_encrypted)
        if self._line is not None and self._line_of == made_from:
            return self._line
        if self._line is not None:
            self._line.close()
            self._line = None
        try:
            self._line, self._line_of = open_line(self._parts, row), made_from
        except NotConfigured as error:
            if row.problem != error.message:
                log.error(error.code, endpoint=self._name, advice=error.message)
            again_at = now + timedelta(seconds=LONGEST_PAUSE_S)
            standing = Standing(
                failures=row.failures,
                next_try_at=again_at,
                last_success_at=row.last_success_at,
                problem=error.message,
            )
            endpoints.keep_standing(connection, self._id, standing)
            if given_up := parked.park_overdue(connection, self._id, now):
                log_parked(self._name, given_up, error.message)
        return self._line

    def _tell(self, line: Line | None, due: Due, letter: Letter, was_probe: bool) -> None:
        verdict = None
        try:
            if line is not None and self._parts.clock() < self._until - LONGEST_CALL:
                verdict = line.tell(letter, self._parts.clock())
        except Exception as error:
            log.exception("callback_broke", endpoint=self._name, callback=letter.id)
            verdict = Verdict(problem=f"Telling it broke inside Truetick ({type(error).__name__}).")
        if verdict is not None and verdict.problem is not None:
            log.info(
                "callback_not_delivered",
                endpoint=self._name,
                callback=letter.id,
                tries=due.tries + 1,
                problem=verdict.problem,
            )
        self._answers.put(_Answer(due=due, was_probe=was_probe, verdict=verdict))
