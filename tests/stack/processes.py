"""Real processes for the tests of the stack: start, look, wait with a deadline; nothing survives a test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent.parent


def until(reached: Callable[[], object], *, within_s: float = 15.0, what: str = "it") -> None:
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(0.03)


def alive(pid: int) -> bool:
    """Zombies are dead."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(shown.stdout.strip()) and not shown.stdout.startswith("Z")


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, however deep."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in table.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, []))
    for one in found:
        found.extend(children.get(one, []))
    return found


class Running:
    """A command of this project with its output in a file. Leaving the block kills it and all it has started."""

    def __init__(self, arguments: Sequence[str], folder: Path, **environment: str) -> None:
        self._log = folder / f"output-{time.monotonic_ns()}.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRUETICK_", "WASENDER_"))}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**kept, "PYTHONPATH": str(ROOT), **environment},
                start_new_session=True,
                # Whoever runs the tests under nohup wants the tests to ignore a hang-up, not what they test.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )
        self._family: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.family()
        self.process.kill()
        self.process.wait()
        for pid in self._family:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def says(self, text: str, *, within_s: float = 30.0) -> None:
        until(lambda: text in self.output or self.process.poll() is not None, within_s=within_s, what=f"{text!r}")
        assert text in self.output, self.output

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def family(self) -> set[int]:
        """Every process that this one has been seen to have below it."""
        self._family.update(descendants(self.pid))
        return self._family

    def survivors(self) -> set[int]:
        return {pid for pid in self._family if alive(pid)}

    def ends(self, *, within_s: float = 30.0) -> int:
        """Wait for the end of it and of its whole family; answers the exit code."""
        code = self.process.wait(within_s)
        until(lambda: not self.survivors(), within_s=within_s, what="the end of its family")
        return code
