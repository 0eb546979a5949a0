"""The broker as a diagnosis sees it: does it take tasks, do they pile up, which workers and beats answer through it?

It has a Celery app of its own, which no process takes for its current one: it is used inside other people's programs.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery

from worker.self_report import COMMAND, CRM_QUEUE, DRAIN_QUEUE, QUEUES_COMMAND, UPKEEP_QUEUE, is_ours
from worker.settings import Settings

#: How long workers and beats may take to answer.
REPLY_S = 1.2
#: Celery's default queue, on which CRMs enqueue, and our own ones.
QUEUES = (CRM_QUEUE, DRAIN_QUEUE, UPKEEP_QUEUE)
#: Written for a second, to see whether the broker takes anything at all.
_MARK = "truetick.diagnosis"


@dataclass(frozen=True, kw_only=True)
class QueueLook:
    """`waiting` is None where the broker cannot tell (it is not Redis or Valkey)."""

    waiting: Mapping[str, int] | None
    used_bytes: int | None = None
    #: 0: no limit.
    most_bytes: int = 0
    #: What it does when it is full.
    policy: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """One worker's word about itself; empty texts where it does not know the question, as a CRM's own worker."""

    name: str
    truetick: str = ""
    celery: str = ""
    schema: str = ""
    #: Its clock minus ours, in seconds, to about the time that an answer takes; None where it did not say.
    skew_s: float | None = None

    @property
    def is_ours(self) -> bool:
        """Is it one of Truetick's? A CRM may have its workers on the same broker, and they answer all questions."""
        return bool(self.truetick)


class BrokerLine:
    """Asks the broker of these settings. Opens nothing before it is asked; raises what kombu and redis raise."""

    def __init__(self, settings: Settings) -> None:
        self._app = Celery("truetick-diagnosis", broker=settings.broker_url, set_as_current=False)
        self._app.conf.update(
            broker_connection_timeout=1,
            broker_pool_limit=2,
            broker_transport_options={
                "socket_connect_timeout": 0.5,
                "socket_timeout": 1,
                "max_retries": 1,
                "interval_start": 0,
                "interval_step": 0,
                "interval_max": 0,
            },
            task_publish_retry=False,
            accept_content=["json"],
            task_ignore_result=True,
        )

    def look(self) -> QueueLook:
        """Write a mark that is gone after a second, and count what waits."""
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            if connection.transport.driver_type != "redis":
                return QueueLook(waiting=None)
            client = connection.default_channel.client
            client.set(_MARK, 1, px=1000)
            memory = client.info("memory")
            return QueueLook(
                waiting={name: int(client.llen(name)) for name in QUEUES},
                used_bytes=int(memory.get("used_memory", 0)),
                most_bytes=int(memory.get("maxmemory", 0)),
                policy=str(memory.get("maxmemory_policy", "")),
            )

    def workers(self) -> tuple[WorkerReport, ...]:
        """The workers that answer, by name. Only ours are asked for more: others would log an error."""
        listening = dict(self._broadcast(QUEUES_COMMAND))
        ours = [name for name, queues in listening.items() if is_ours(queues)]
        asked_at = time.time()
        told = dict(self._broadcast(COMMAND, ours)) if ours else {}
        return tuple(_report(name, told.get(name), asked_at) for name in sorted(listening))

    def beats(self) -> tuple[str, ...]:
        """The beats that answer, by name: one whose scheduler stands still does not."""
        return tuple(sorted(name for name, _ in self._broadcast("ping") if name.startswith("celerybeat@")))

    def wake_drain(self) -> None:
        """Ask for a drain run."""
        self._app.send_task("truetick.drain", queue=DRAIN_QUEUE, expires=60)

    def _broadcast(self, command: str, to: Sequence[str] | None = None) -> list[tuple[str, Any]]:
        """The answers by name: of all who give one in time, or of these alone, and no longer than that takes."""
        asked = {"reply": True, "timeout": REPLY_S, "destination": to, "limit": len(to) if to else None}
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            answers = self._app.control.broadcast(command, connection=connection, **asked)
        return [(str(name), said) for answer in answers or () for name, said in answer.items()]


def _report(name: str, said: Any, asked_at: float) -> WorkerReport:
    if not isinstance(said, dict) or "truetick" not in said:
        return WorkerReport(name=name)
    at = said.get("time")
    return WorkerReport(
        name=name,
        truetick=str(said["truetick"])[:40],
        celery=str(said.get("celery", ""))[:40],
        schema=str(said.get("schema", ""))[:40],
        skew_s=at - asked_at if isinstance(at, int | float) else None,
    )
