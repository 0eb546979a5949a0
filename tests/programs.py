"""This project's programs as processes of their own, in two ways.

`warm`: forked from a server that has the libraries loaded, which saves the second and a half that they take
to import.
`cold`: a new interpreter, as a person starts it. That this works, too, is tested by `truetick up`, by the
demonstration, by the services of docker-compose.yml and wherever the start itself matters.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

from worker.settings import settings

ROOT = Path(__file__).resolve().parent.parent
#: What the commands of these names call.
PROGRAMS = {
    "truetick": "worker.cli.app:main",
    "celery": "celery.__main__:main",
    "gunicorn": "gunicorn.app.wsgiapp:run",
    "python": "tests.programs:_python",
}
#: What they import at their start, or for their first piece of work. None of it reads settings before it is used.
_LIBRARIES = (
    "billiard.pool",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.app.routes",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.thread",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "crm_bridge.web.application",
    "crm_bridge.web.server_worker",
    "gunicorn.app.wsgiapp",
    "kombu.transport.redis",
    "worker.cli.app",
    "worker.cli.callback_work",
    "worker.cli.channel_work",
    "worker.cli.check_work",
    "worker.cli.message_work",
    "worker.consumer",
    "worker.tasks",
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["__main__", *_LIBRARIES, __name__])


class Running(Protocol):
    """A program that was started: as much of `subprocess.Popen` as tests need."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit code of one that has ended; below zero: the signal that ended it."""

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Start(Protocol):
    """Runs one of PROGRAMS; its errors go to the same file as its output."""

    def __call__(self, program: str, *arguments: str, environment: Mapping[str, str], output: Path) -> Running: ...


class _Forked:
    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise AssertionError(f"process {self.pid} did not end within {timeout:g} s")
        return code

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def warm(
    program: str,
    *arguments: str,
    environment: Mapping[str, str],
    output: Path,
    errors: Path | None = None,
    input: Path = Path(os.devnull),
    folder: Path = ROOT,
) -> Running:
    files = (input, output, errors or output)
    process = _context.Process(
        target=_run, args=([program, *arguments], dict(environment), str(folder), files), daemon=True
    )
    process.start()
    return _Forked(process)


def cold(program: str, *arguments: str, environment: Mapping[str, str], output: Path) -> Running:
    command = [sys.executable, "-m", "worker.cli.app" if program == "truetick" else program, *arguments]
    with output.open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )


def _run(command: Sequence[str], environment: Mapping[str, str], folder: str, files: Sequence[Path]) -> None:
    """In the forked process: become what the command's own process would be."""
    _open(*files)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.execv = _replace  # type: ignore[assignment]
    _call(command)


def _open(input: Path, output: Path, errors: Path) -> None:
    anew = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    opened = [os.open(input, os.O_RDONLY), os.open(output, anew)]
    opened.append(opened[1] if errors == output else os.open(errors, anew))
    for number, descriptor in enumerate(opened):
        os.dup2(descriptor, number)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")


def _call(command: Sequence[str]) -> None:
    sys.argv = list(command)
    resolve_name(PROGRAMS[command[0]])()


def _python() -> None:
    """`python -c CODE …`"""
    sys.argv, code = ["-c", *sys.argv[3:]], sys.argv[2]
    exec(code, {"__name__": "__main__"})


def _replace(_path: str, command: Sequence[str]) -> None:
    """What `truetick web` has the kernel do, `python -m gunicorn …`: this process goes on as that program."""
    assert command[:2] == [sys.executable, "-m"]
    sys.stdout.flush()
    settings.cache_clear()  # a new program reads them anew
    _call(command[2:])
