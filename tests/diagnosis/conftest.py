"""A channel that has been up for an hour, the schedules in the test's hand, and a diagnosis at any time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from tests.drain.scene import Crm
from tests.outbox.desks import sqlite_desk
from tests.truth import stage as staging
from tests.truth.stage import TOKEN, Stage
from wasender_sandbox.control import Sandbox
from worker.diagnosis.broker_line import QUEUES, BrokerLine, QueueLook, WorkerReport
from worker.diagnosis.diagnoser import Diagnoser
from worker.diagnosis.finding import Diagnosis, Finding, Verdict
from worker.diagnosis.guide import entry_for
from worker.parts import Parts
from worker.revisions import head

__all__ = ["OPTIONS", "TOKEN", "Line", "Ward", "sqlite_desk"]

#: The one-machine pace, which nobody could call too fast.
OPTIONS = staging.OPTIONS | {"TRUETICK_PACE": "1/5"}


@dataclass
class Line:
    """A broker on which all is well, unless a test says otherwise."""

    queue: QueueLook | Exception = field(default_factory=lambda: QueueLook(waiting=dict.fromkeys(QUEUES, 0)))
    answering: tuple[WorkerReport, ...] | Exception = (
        WorkerReport(name="celery@here", truetick="0.1.0", celery="5.7", schema=head() or "", skew_s=0.01),
    )
    ticking: tuple[str, ...] | Exception = ("celerybeat@here",)

    def look(self) -> QueueLook:
        return self._or_raise(self.queue)

    def workers(self) -> tuple[WorkerReport, ...]:
        return self._or_raise(self.answering)

    def beats(self) -> tuple[str, ...]:
        return self._or_raise(self.ticking)

    def wake_drain(self) -> None:
        pass

    @staticmethod
    def _or_raise(said: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return said


class Ward:
    """Diagnoses a stage, and holds what every finding has to keep to."""

    def __init__(self, parts: Parts, line: Line | BrokerLine | None = None) -> None:
        self.parts = parts
        self.line = line or Line()

    def diagnose(self, **options: Any) -> Diagnosis:
        diagnosis = Diagnoser(self.parts, self.line).diagnose(**options)  # type: ignore[arg-type]
        for finding in diagnosis.findings:
            assert finding.evidence.endswith((".", ")")), finding
            if finding.verdict in {Verdict.FAILED, Verdict.UNVERIFIED}:
                assert finding.remedy, f"nobody says what to do about {finding}"
                assert entry_for(finding.check, finding.code)[1].steps
        return diagnosis

    def findings(self, **options: Any) -> dict[str, Finding]:
        """By check; of one channel."""
        return {finding.check: finding for finding in self.diagnose(**options).findings}

    def found(self, check: str, **options: Any) -> tuple[str, str]:
        """The verdict and its code."""
        finding = self.findings(**options)[check]
        return finding.verdict.value, finding.code


@pytest.fixture
def parts(sqlite_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    """What is judged does not depend on the database; what is read from it stands in `test_database_look`."""
    staging.set_up(sandbox)
    return build(sqlite_url, **OPTIONS)


@pytest.fixture
def stage(parts: Parts, sandbox: Sandbox) -> Stage:
    crm = Crm(parts, sandbox)
    crm.channels("default", window=1)
    stage = Stage(crm)
    stage.pass_time(timedelta(hours=1).total_seconds())
    stage.check()
    return stage


@pytest.fixture
def ward(stage: Stage, parts: Parts) -> Ward:
    return Ward(parts)


@pytest.fixture
def tick_one(stage: Stage) -> Callable[[], None]:
    """A message goes out and is ticked."""

    def tick() -> None:
        ticked = len(stage.sandbox.ledger(acked=True))
        stage.crm.set_channel("default", next_slot_at=stage.parts.clock())
        stage.crm.enqueue(["Hello"])
        stage.send()
        stage.ticks(ticked + 1)
        stage.pass_time(2.5)
        stage.ask()
        assert stage.crm.states()[-1] in {"sent", "delivered"}

    return tick
