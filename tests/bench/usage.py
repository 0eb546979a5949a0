"""CPU time of processes with all their children, and of PostgreSQL's server; what the broker holds."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil
import redis
from sqlalchemy import Engine, text


@dataclass(frozen=True, kw_only=True)
class Usage:
    """CPU seconds by name, over some seconds."""

    seconds: float
    cpu_s: dict[str, float]

    def percent(self, *names: str) -> float:
        """Of one core, for these processes together."""
        return 100 * sum(self.cpu_s[name] for name in names) / self.seconds


class Meter:
    """Counts from its making on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._started = time.monotonic()
        self._before = self._read()

    def read(self) -> Usage:
        now = self._read()
        cpu_s = {name: now[name] - self._before[name] for name in self._pids}
        return Usage(seconds=time.monotonic() - self._started, cpu_s=cpu_s)

    def _read(self) -> dict[str, float]:
        return {name: _cpu_s(pid) for name, pid in self._pids.items()}


def _cpu_s(pid: int) -> float:
    """Of a process and its children. What a child has used is its parent's as soon as the child has ended."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += sum(one.cpu_times()[:4])
    return total


def postmaster(engine: Engine) -> int:
    """The process of which all of PostgreSQL's others are children."""
    with engine.connect() as connection:
        backend: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        parent = psutil.Process(backend).parent()
    assert parent is not None
    return parent.pid


@dataclass(frozen=True, kw_only=True)
class BrokerContent:
    tasks: int
    used_mib: float


def broker_content(client: redis.Redis) -> BrokerContent:
    """All tasks in all queues, those that workers have taken and not confirmed included, and the memory in use."""
    tasks = 0
    for key in client.scan_iter():
        kind = client.type(key)
        if kind == b"list":
            tasks += int(client.llen(key))
        elif kind == b"hash":
            tasks += int(client.hlen(key))
    return BrokerContent(tasks=tasks, used_mib=client.info("memory")["used_memory"] / 2**20)
