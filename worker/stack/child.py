"""One child process of the stack, on its leash: start, its lines, its end."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from worker.stack.log_lines import LineSink

LEASH = Path(__file__).with_name("leash.py")
#: Time beyond a child's grace after which its leash is not waited for any longer.
LEASH_SLACK_S = 3.0
#: A line longer than this is cut into several.
LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to run. `environment` comes on top of the supervisor's own."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Seconds between SIGTERM and SIGKILL.
    grace_s: float = 10.0
    #: Takes one look; None when there is nothing to look at.
    is_ready: Callable[[], bool] | None = None
    ready_within_s: float = 30.0
    #: Called, in a thread, each time the child has become ready.
    when_ready: Callable[[], None] | None = None


class Child:
    """A running child. It ends with its whole group, and with the supervisor."""

    def __init__(
        self, spec: ChildSpec, leash: asyncio.subprocess.Process, lifeline: socket.socket, sink: LineSink
    ) -> None:
        self.spec = spec
        self._leash = leash
        self._lifeline = lifeline
        self._pump = asyncio.create_task(self._pump_lines(sink))
        self._end = asyncio.create_task(self._wait_for_end())

    @classmethod
    async def start(cls, spec: ChildSpec, sink: LineSink, inherited_fds: tuple[int, ...] = ()) -> "Child":
        """Start it; its lines begin to flow to `sink`. The leash keeps `inherited_fds` open until its end."""
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (theirs.fileno(), *inherited_fds)
            leash = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LEASH)),
                *(",".join(map(str, fds)), str(spec.grace_s), *spec.command),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.environment},
                pass_fds=fds,
                start_new_session=True,
            )
        return cls(spec, leash, ours, sink)

    async def ended(self) -> int:
        """Wait for the end; answers the exit code, 128 + signal when a signal ended it."""
        return await asyncio.shield(self._end)

    async def stop(self) -> int:
        """SIGTERM, its grace, SIGKILL; and no longer."""
        self._signal_leash(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.ended(), self.spec.grace_s + LEASH_SLACK_S)
        except TimeoutError:
            self._signal_leash(signal.SIGKILL)
            return await self.ended()

    def kill(self) -> None:
        """SIGKILL to the whole group, now."""
        self._signal_leash(signal.SIGQUIT)

    @property
    def pid(self) -> int | None:
        """The child's own pid; None until its leash has told."""
        with suppress(OSError, ValueError):
            told = self._lifeline.recv(32, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return int(told)
        return None

    def _signal_leash(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._leash.send_signal(number)

    async def _wait_for_end(self) -> int:
        code = await self._leash.wait()
        pid = self.pid
        if code < 0 and pid is not None:  # somebody killed the leash itself, before it could end the group
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pump, LEASH_SLACK_S)
        self._lifeline.close()
        return code if code >= 0 else 128 - code

    async def _pump_lines(self, sink: LineSink) -> None:
        assert self._leash.stdout is not None
        rest = b""
        while chunk := await self._leash.stdout.read(LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) >= LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                sink.write(self.spec.name, line.decode(errors="replace").rstrip("\r"))
        if rest:
            sink.write(self.spec.name, rest.decode(errors="replace"))
