"""One bounded run of sending: the whole way of a message through a worker, on one screen.

Each turn of the loop is one transaction for all leased channels: record what came back, reserve slots, claim what
goes next. Only then is it POSTed. The floors below know the SQL (`outbox`, `channels`) and the threads (`sending`).
"""

import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from worker.channels import leases, states
from worker.channels.leases import Lease
from worker.database import DatabaseAway, snapshot, transaction, was_broken_off
from worker.domain.channel_state import NO_API_KEY
from worker.domain.errors import NotConfigured
from worker.outbox.claims import Claim, Finished, claim_next, put_back_unposted, record_outcomes
from worker.parts import Parts
from worker.sending.lane import Lane
from worker.sending.lanes import Lanes
from worker.sending.preparing import Preparing
from worker.sending.senders import Job, Senders

log = structlog.get_logger(__name__)

#: How often a run looks for further channels; a wake-up makes it look at once.
LOOK_EVERY_S = 0.5
#: How soon it looks again when it could not take all: somebody had a channel locked, or there were many.
LOOK_AGAIN_S = 0.05
#: How many channels one run leases at the most.
MOST_CHANNELS = 1000
#: How many channels one look leases for each sender that is free; the others are left to other workers for a while.
CHANNELS_PER_FREE_SENDER = 4
#: The pause after a turn that the database did not take.
TROUBLE_PAUSE_S = 0.5
#: A run whose time is over goes on while messages flow, for up to so many times its time: the next run can take a
#: channel only once nothing is in flight on it, so that a fast channel would lose a slot at each hand-over.
LONGEST_RUN = 12
#: How long a stopping process goes on trying to write down answers that it has.
LAST_WORDS_S = 10.0


class Drainer:
    """Keeps one run sending at a time in this process; a wake-up during a run makes that run look again."""

    def __init__(self) -> None:
        self._sending = threading.Lock()
        self._woken = threading.Event()
        self._run: DrainRun | None = None

    def drain(self, parts: Parts, wake: Callable[[], None]) -> None:
        """Send what is due; `wake` is called when another run should follow."""
        self._woken.set()
        if not self._sending.acquire(blocking=False):
            if run := self._run:
                run.look_now()
            return
        try:
            self._run = run = DrainRun(parts, wake)
        except BaseException:
            self._sending.release()
            raise
        try:
            self._woken.clear()
            try:
                more = run.send()
            finally:
                self._run = None
                self._sending.release()
            # A wake-up that came too late for this run is handed on.
            if more or self._woken.is_set():
                wake()
        finally:
            # What is still in flight is awaited without holding up the next run, also when this one broke.
            if run.finish():
                wake()


class DrainRun:
    """Sends for `drain_run_s` seconds, then hands on."""

    def __init__(self, parts: Parts, wake: Callable[[], None]) -> None:
        self._parts = parts
        self._wake = wake
        self._now = parts.clock
        threads = parts.settings.sender_threads
        self._lanes = Lanes(
            secrets.token_hex(16),
            ack_timeout_s=parts.settings.ack_timeout_s,
            threads=threads,
            jitter=self._jitter if parts.settings.jitter_s else None,
        )
        self._quiet_hours = parts.settings.quiet_hours
        preparing = Preparing(parts.engine, parts.gateway, parts.clock)
        self._senders = Senders(parts.gateway, parts.clock, preparing, threads=threads)
        self._unrecorded: list[Finished] = []
        self._run_time = timedelta(seconds=parts.settings.drain_run_s)
        self._ends_at = parts.clock() + self._run_time
        self._ends_by = self._ends_at + (LONGEST_RUN - 1) * self._run_time
        self._look_at = 0.0
        self._woken = threading.Event()
        #: A commit failed, so the database may hold claims of this run that it never learnt of.
        self._in_trouble = False

    def send(self) -> bool:
        """Claim and POST until nothing is due or the time is over. True when there is more to do soon."""
        while not self._over():
            self._collect()
            self._turn(claiming=True)
            if not self._lanes and not self._unrecorded and not self._time_to_look():
                if not self._anything_waiting(self._horizon(self._now())):
                    return self._more()  # a slot just beyond this run is the next run's, not the sweep's
                self._look_at = time.monotonic() + LOOK_AGAIN_S
        self._close()
        self._turn(claiming=False)
        return self._more()

    def finish(self) -> bool:
        """Wait for what is in flight and record it. True when its channels have more to send."""
        had_to_wait = bool(self._lanes or self._unrecorded)
        self._close()
        give_up_at: float | None = None
        wake_at = 0.0
        try:
            while self._lanes or self._unrecorded:
                held = len(self._lanes)
                self._collect()
                self._turn(claiming=False)
                # Who is free already need not wait for the answers of others.
                if len(self._lanes) < held and time.monotonic() >= wake_at and self._more():
                    wake_at = time.monotonic() + LOOK_AGAIN_S
                    self._wake()
                if self._in_trouble and self._parts.stopping.is_set():
                    give_up_at = give_up_at or time.monotonic() + LAST_WORDS_S
                    if time.monotonic() > give_up_at:
                        log.error("answers_not_recorded", count=len(self._unrecorded))
                        return False
        finally:
            self._senders.close()
        return had_to_wait and self._more()

    def look_now(self) -> None:
        """Something may have become due: look at once. Called from other threads."""
        if not self._woken.is_set():
            self._woken.set()
            self._senders.interrupt()

    def _time_to_look(self) -> bool:
        return self._woken.is_set() or time.monotonic() >= self._look_at

    def _close(self) -> None:
        self._lanes.close()
        self._look_at = math.inf

    def _turn(self, *, claiming: bool) -> None:
        now = self._now()
        until = now + timedelta(seconds=self._parts.settings.lease_s)
        ends_at = self._horizon(now)
        held = self._lanes.channel_ids()
        if looking := claiming and self._time_to_look():
            self._woken.clear()
            self._look_at = time.monotonic() + LOOK_EVERY_S
        try:
            with transaction(self._parts.engine) as connection:
                self._lanes.lock(
                    connection,
                    now=now,
                    until=until,
                    ends_at=ends_at,
                    most=self._senders.free,
                    everything=self._in_trouble,
                )
                record_outcomes(
                    connection,
                    self._unrecorded,
                    self._lanes.token,
                    now=now,
                    worker=self._parts.worker,
                    ack_timeout_s=self._parts.settings.ack_timeout_s,
                )
                if self._in_trouble:
                    put_back_unposted(connection, self._lanes.token, keep=self._lanes.in_flight(), now=now)
                if looking:
                    self._lanes.look_up(connection)
                    self._lease_more(connection, now, until)
                claims = self._claim(connection, now) if claiming else ()
                lost = self._lanes.write(connection, now=now, until=until)
                done_with = self._lanes.done_with(besides=claims, ends_at=ends_at)
                neglected = self._lanes.neglected(now) if len(claims) >= self._senders.free else []
                leases.give_back(connection, self._lanes.token, {*done_with, *neglected})
        except DatabaseAway as error:
            broken_off = was_broken_off(error)
            log.warning("deadlock" if broken_off else "database_away", problem=type(error).__name__)
            self._in_trouble = True
            self._lanes.not_written()
            if looking:
                self._look_at = 0.0
            if not broken_off:
                time.sleep(TROUBLE_PAUSE_S)
            return
        self._in_trouble = False
        self._unrecorded.clear()
        self._lanes.written(lost, until)
        self._lanes.drop({*done_with, *neglected})
        # A message committed just before its channel was given back woke nobody: look once more after giving back.
        if claiming and not held.isdisjoint(done_with):
            self._look_at = 0.0
        self._post(claims)
        if claims:
            self._lanes.turn_took(self._now() - now)
        if neglected:
            self._wake()

    def _collect(self) -> None:
        """Wait until an answer comes, a slot comes or it is time to look, whichever is first."""
        for job in self._senders.collect(self._wait_s()):
            self._lanes[job.claim.channel_id].absorb(job)
            assert job.finished is not None
            self._unrecorded.append(job.finished)

    def _wait_s(self) -> float:
        if self._unrecorded:
            return 0.0
        now = self._now()
        waits = [self._look_at - time.monotonic()]
        if self._senders.free and (slot := self._lanes.next_ready_at(now)) is not None:
            waits.append((slot - now).total_seconds())
        if self._lanes:  # their leases have to be renewed in time
            waits.append(LOOK_EVERY_S)
        if now < (ends := self._ends_at if now < self._ends_at else self._ends_by):
            waits.append((ends - now).total_seconds())
        return max(0.0, min(waits))

    def _lease_more(self, connection: Connection, now: datetime, until: datetime) -> None:
        """Lease further channels, as many as the free senders can serve: the rest is better off with others."""
        room = min(MOST_CHANNELS - len(self._lanes), CHANNELS_PER_FREE_SENDER * self._senders.free)
        if not room:
            return
        lease = Lease(token=self._lanes.token, holder=self._parts.worker, until=until)
        taken = leases.take_waiting(connection, lease, now=now, horizon=self._horizon(now), most=room)
        if len(taken) == room:
            self._look_at = time.monotonic() + LOOK_AGAIN_S
        for row in taken:
            try:
                key = self._parts.vault.channel_key(row.api_key_encrypted)
                problem = NO_API_KEY
            except NotConfigured as error:
                key, problem = None, error.code
            if key is None:
                states.block(connection, row.id, problem, now=now)
                leases.give_back(connection, lease.token, [row.id])
            else:
                self._lanes.add(row, key, leased_at=now, lease_until=until)

    def _claim(self, connection: Connection, now: datetime) -> Sequence[Claim]:
        """Claim the next message of each lane whose slot has come, and use up that slot."""
        ready = self._lanes.ready(now, self._senders.free)
        if not ready:
            return ()
        ids = [lane.channel_id for lane in ready]
        found = claim_next(connection, ids, self._lanes.token, now=now, quiet_hours=self._quiet_hours)
        for lane in ready:
            if lane.channel_id not in found.sendable:
                lane.closing = True
            elif lane.channel_id in found.idle:
                lane.found_nothing(now)
            else:
                # It may have become mute, or come up again, since it was leased.
                lane.probing = lane.channel_id in found.probing
                lane.reserve(now)
        return found.claims

    def _jitter(self) -> timedelta:
        return timedelta(seconds=self._parts.chance.uniform(0, self._parts.settings.jitter_s))

    def _post(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            lane: Lane = self._lanes[claim.channel_id]
            job = Job(
                claim=claim,
                api_key=lane.api_key,
                not_before=lane.slot,
                begin_before=lane.begin_before,
                ask_first=lane.failures > 0,
            )
            lane.in_flight.append(job)
            self._senders.post(job)

    def _over(self) -> bool:
        now = self._now()
        if self._parts.stopping.is_set() or now >= self._ends_by:
            return True
        return now >= self._ends_at and not self._lanes.are_flowing(now)

    def _horizon(self, now: datetime) -> datetime:
        """Slots up to then are this run's."""
        return self._ends_at if now < self._ends_at else min(now + self._run_time, self._ends_by)

    def _more(self) -> bool:
        """Is there something for another run of this process?"""
        horizon = self._now() + self._run_time
        return not self._parts.stopping.is_set() and self._anything_waiting(horizon)

    def _anything_waiting(self, horizon: datetime) -> bool:
        try:
            with snapshot(self._parts.engine) as connection:
                return leases.anything_waiting(connection, now=self._now(), horizon=horizon)
        except DatabaseAway:
            return False  # the sweep finds it
