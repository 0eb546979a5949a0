"""A small pool of threads that POST claimed messages and bring back what each attempt proved."""

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from pydantic import SecretStr

from worker.clock import Clock
from worker.domain.evidence import Connection, ConnectionReport
from worker.domain.outcomes import Cause, ChannelEffect, Outcome
from worker.gateway.client import GatewayClient
from worker.gateway.wire import telling_when_written
from worker.outbox.claims import Claim, Finished
from worker.sending.preparing import Preparing

log = structlog.get_logger(__name__)

#: While several POSTs are under way, answers are gathered this long so that they share one commit.
LINGER_S = 0.004
#: Answers to "are you connected?" that bear out a refusal of a message as "not connected".
CONFIRMS_DOWN = frozenset({Connection.NOT_CONNECTED, Connection.REFUSED})


@dataclass(eq=False, kw_only=True)
class Job:
    """A claim on its way. Its sender thread writes the times and `finished`; the run's thread reads them."""

    claim: Claim
    api_key: SecretStr = field(repr=False)
    #: The slot: the POST may not begin before it.
    not_before: datetime
    #: A POST that could not begin before this is given up: from then on the channel may belong to another run.
    begin_before: datetime
    #: WaSender was in trouble: a question that harms nobody goes before the message.
    ask_first: bool = False
    started_at: datetime | None = None
    #: When the request stood on the wire: what WaSender counts by comes no earlier than `started_at`, hardly later.
    written_at: datetime | None = None
    finished: Finished | None = None
    #: What WaSender answered to "are you connected?" right after it refused the message, or before it was posted.
    report: ConnectionReport | None = None

    @property
    def is_under_way(self) -> bool:
        """Is the request written, or will it never be?"""
        return self.written_at is not None or self.finished is not None

    @property
    def confirms_down(self) -> bool:
        """Does WaSender's own word say, too, that the channel cannot send?"""
        return self.report is not None and self.report.connection in CONFIRMS_DOWN

    def is_written(self, clock: Clock) -> Callable[[], None]:
        def note() -> None:
            self.written_at = clock()

        return note


class Senders:
    """The threads of one run. All methods but `interrupt` belong to the run's own thread."""

    def __init__(self, gateway: GatewayClient, clock: Clock, preparing: Preparing, *, threads: int) -> None:
        self._gateway = gateway
        self._clock = clock
        self._preparing = preparing
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sender")
        self._done: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = threads
        self._in_flight = 0

    @property
    def free(self) -> int:
        """How many more jobs are worth handing over: one running and one waiting for each thread."""
        return max(0, 2 * self._threads - self._in_flight)

    def post(self, job: Job) -> None:
        self._in_flight += 1
        self._pool.submit(self._work, job)

    def collect(self, wait_s: float) -> list[Job]:
        """The jobs that have ended; waits up to `wait_s` seconds for the first, or until `interrupt`."""
        done: list[Job] = []
        try:
            ended = self._done.get(timeout=wait_s)
            while ended is not None:
                done.append(ended)
                if len(done) == self._in_flight:
                    break
                ended = self._done.get(timeout=LINGER_S)
        except queue.Empty:
            pass
        self._in_flight -= len(done)
        return done

    def interrupt(self) -> None:
        """End a `collect` that is waiting. Called from any thread."""
        self._done.put(None)

    def close(self) -> None:
        """Let the threads end; waits for what is still in flight (bounded by the gateway's timeouts)."""
        self._pool.shutdown()

    def _work(self, job: Job) -> None:
        try:
            outcome = self._attempt(job)
        except Exception:
            # Whatever broke in here may have broken after the request was written.
            log.exception("attempt_broke", message_seq=job.claim.seq)
            outcome = Outcome(cause=Cause.CONNECTION_LOST if job.started_at else Cause.NOT_STARTED)
        job.finished = Finished(
            claim=job.claim,
            started_at=job.started_at,
            finished_at=self._clock(),
            outcome=outcome,
            channel_is_down=job.confirms_down,
        )
        self._done.put(job)

    def _ask(self, job: Job) -> Outcome | None:
        """Is WaSender itself again? What it does to a question costs nothing; a message it swallows is in doubt."""
        report = self._gateway.status(job.api_key.get_secret_value())
        if report.connection is Connection.UNVERIFIED:
            return Outcome(cause=Cause.STILL_TROUBLED, detail=report.word)
        if report.connection is not Connection.CONNECTED:
            job.report = report
            return Outcome(cause=Cause.CHANNEL_DOWN, detail=report.word)
        return None

    def _attempt(self, job: Job) -> Outcome:
        # What takes its time before the request can be written must not pass for the start of the POST.
        if unreachable := self._gateway.connect():
            return unreachable
        if job.ask_first and (trouble := self._ask(job)):
            return trouble
        content = job.claim.content
        if self._preparing.is_needed(job.claim):
            if self._clock() >= job.begin_before:
                return Outcome(cause=Cause.NOT_STARTED)
            prepared = self._preparing.prepare(job.claim, job.api_key)
            if isinstance(prepared, Outcome):
                return self._confirmed(job, prepared)
            content = prepared
            if unreachable := self._gateway.connect():
                return unreachable
        while (early_s := (job.not_before - self._clock()).total_seconds()) > 0:
            time.sleep(early_s)
        now = self._clock()
        if now >= job.begin_before:
            return Outcome(cause=Cause.NOT_STARTED)
        job.started_at = now
        key = job.api_key.get_secret_value()
        with telling_when_written(job.is_written(self._clock)):
            outcome = self._gateway.send(key, job.claim.recipient, content)
        return self._confirmed(job, outcome)

    def _confirmed(self, job: Job, outcome: Outcome) -> Outcome:
        """A refusal as "not connected" is held against what WaSender says when it is asked."""
        if outcome.channel_effect is ChannelEffect.DOWN:
            job.report = self._gateway.status(job.api_key.get_secret_value())
        return outcome
