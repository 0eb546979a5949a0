"""Real worker, beat and web processes on real servers, to be killed as they are in life."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
from celery import Celery

from tests import programs
from tests.programs import ROOT as ROOT
from tests.programs import Running, Start
from tests.real_servers import wait_until


class LiveStack:
    """Starts `celery -A worker worker|beat` and `truetick web` with these settings; stops everything by pid."""

    def __init__(self, folder: Path, environment: dict[str, str], start: Start = programs.warm) -> None:
        self._folder = folder
        self._environment = environment
        self._start_program = start
        self._started: dict[str, Running] = {}
        self._count = 0
        #: What a CRM without our code knows: the broker's address.
        self.crm = Celery(broker=environment["CELERY_BROKER_URL"], set_as_current=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started.values():
            _kill_family(process)
        self.crm.close()

    def worker(self, name: str, *options: str) -> Running:
        return self._start(name, "celery", "-A", "worker", "worker", "--hostname", f"{name}@here", *options)

    def beat(self) -> Running:
        return self._start("beat", "celery", "-A", "worker", "beat", "--pidfile=")

    def web(self, port: int) -> Running:
        return self._start("web", "truetick", "web", "--port", str(port))

    def kill(self, name: str) -> None:
        """kill -9, as the kernel does when memory runs out."""
        _kill_family(self._started.pop(name))

    def freeze(self, name: str) -> None:
        """It does nothing any more, but its connections stand."""
        os.kill(self._started[name].pid, signal.SIGSTOP)

    def ended(self) -> list[str]:
        """The processes that have ended although nobody ended them."""
        return [name for name, process in self._started.items() if process.poll() is not None]

    def stop(self, name: str) -> int:
        """SIGTERM, as an operator does; returns the exit code."""
        process = self._started.pop(name)
        process.terminate()
        return process.wait(timeout=40)

    def name_of(self, worker: str) -> str | None:
        """Which of these processes signs its leases as `worker` (host and pid)."""
        pid = worker.rpartition(":")[2]
        return next((name for name, process in self._started.items() if str(process.pid) == pid), None)

    def log(self, name: str) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._folder.glob(f"{name}-*.log")))

    def until_ready(self, name: str) -> None:
        wait_until(lambda: "ready." in self.log(name), within_s=30, what=f"{name}'s start")

    def send(self, **request: object) -> str:
        return str(self.crm.send_task("truetick.send_message", kwargs=request).id)

    def _start(self, name: str, program: str, *arguments: str) -> Running:
        self._count += 1
        process = self._start_program(
            program,
            *arguments,
            environment=_clean(os.environ) | self._environment,
            output=self._folder / f"{name}-{self._count}.log",
        )
        self._started[name] = process
        return process


def _kill_family(process: Running) -> None:
    """The web server's requests are served by a child, which would live on for a while."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def _clean(environment: "os._Environ[str]") -> dict[str, str]:
    outside = ("TRUETICK_", "WASENDER_", "CELERY_", "DATABASE_URL")
    return {name: value for name, value in environment.items() if not name.startswith(outside)}
