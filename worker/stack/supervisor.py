"""Keeps a set of child processes running: starts them in order, restarts what dies, stops all in reverse order.

It knows nothing of Truetick's parts; `worker/stack/parts.py` says what they are.
"""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from worker.domain.retry import backoff_s
from worker.stack.child import Child, ChildSpec
from worker.stack.errors import StackFailed
from worker.stack.log_lines import LineSink

#: The supervisor's own name in the log.
OWN_NAME = "truetick"
READY_POLL_S = 0.05
#: A child that has ended so often without having been ready once does not start at all.
HOPELESS_STARTS = 3
#: Signals closer than this are one interrupt: a terminal and a parent process may both send it.
SAME_INTERRUPT_S = 0.3

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """Exponential: `first_s`, doubled up to `most_s`, from the start again after `stable_s` without a death."""

    first_s: float = 0.5
    most_s: float = 30.0
    stable_s: float = 30.0


class Supervisor:
    """Use as `async with`; leaving the block stops every child. One interrupt stops, a second one kills."""

    def __init__(
        self, sink: LineSink, *, policy: RestartPolicy | None = None, inherited_fds: tuple[int, ...] = ()
    ) -> None:
        self._sink = sink
        self._policy = policy or RestartPolicy()
        self._inherited_fds = inherited_fds
        self._children: dict[str, Child] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._starting: set[asyncio.Task[Child]] = set()
        self._killing = False
        self._interrupted_at = 0.0
        self.stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
                loop.add_signal_handler(number, self.interrupt)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_all()
        if self._interrupted_at:
            # Impatient people press Ctrl-C once more; nothing is left by now that could be stopped or killed.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    def interrupt(self) -> None:
        """Ctrl-C or SIGTERM: stop gracefully; once more: kill."""
        now = asyncio.get_running_loop().time()
        if not self.stopped.is_set():
            self._interrupted_at = now
            self.stopped.set()
            self.say("Stopping. Once more to kill.")
        elif not self._killing and now - self._interrupted_at > SAME_INTERRUPT_S:
            self._killing = True
            self.say("Killing.")
            for child in self._children.values():
                child.kill()

    def say(self, line: str) -> None:
        self.write(OWN_NAME, line)

    def write(self, name: str, line: str) -> None:
        """As a sink for the children's lines: when nobody reads the log any more, stop."""
        with suppress(ValueError):
            try:
                self._sink.write(name, line)
            except OSError:
                self.stopped.set()

    async def unless_stopped(self, work: Coroutine[Any, Any, Answer]) -> Answer | None:
        """The work's answer; None when an interrupt came first, and then the work is cancelled."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self.stopped.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            return task.result()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return None

    async def run_once(self, spec: ChildSpec) -> None:
        """Run a command to its end. Raises StackFailed when it fails."""
        child = await self._start(spec)
        code = await child.ended()
        del self._children[spec.name]
        if code != 0 and not self.stopped.is_set():
            raise StackFailed(f"`{spec.name}` failed (exit code {code}); its last lines say why.")

    async def keep(self, spec: ChildSpec, *, wait: bool = True) -> None:
        """Start a child and keep it running; with `wait`, until it is ready. Raises StackFailed when it isn't."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keepers[spec.name] = asyncio.create_task(self._keep(spec, ready))
        if wait:
            await ready
        else:
            ready.add_done_callback(self._tell_trouble)

    async def _keep(self, spec: ChildSpec, ready: "asyncio.Future[None]") -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while not self.stopped.is_set():
            started_at = loop.time()
            child = await self._start(spec)
            watch = asyncio.create_task(self._watch(spec, ready))
            code = await child.ended()
            watch.cancel()
            if self.stopped.is_set():
                return
            failures = 1 if loop.time() - started_at >= self._policy.stable_s else failures + 1
            if failures >= HOPELESS_STARTS and not ready.done():
                ready.set_exception(StackFailed(f"{spec.name} does not start; its last lines say why."))
            pause_s = backoff_s(failures, first_s=self._policy.first_s, most_s=self._policy.most_s)
            self.say(f"{spec.name} ended (exit code {code}); it is started again in {pause_s:g} s.")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), pause_s)

    async def _start(self, spec: ChildSpec) -> Child:
        """Start a child so that it is known even when the one who asked is cancelled meanwhile."""

        async def start() -> Child:
            child = self._children[spec.name] = await Child.start(spec, self, self._inherited_fds)
            if self.stopped.is_set():
                await child.stop()
            return child

        task = asyncio.create_task(start())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return await asyncio.shield(task)

    async def _watch(self, spec: ChildSpec, ready: "asyncio.Future[None]") -> None:
        """Tell `ready` once the child is, or that it took too long. A restart is a new chance."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + spec.ready_within_s
        try:
            while spec.is_ready is not None and not await asyncio.to_thread(spec.is_ready):
                if loop.time() > deadline:
                    raise StackFailed(f"{spec.name} is not ready after {spec.ready_within_s:g} s; see its lines.")
                await asyncio.sleep(READY_POLL_S)
            if spec.when_ready is not None:
                await asyncio.to_thread(spec.when_ready)
        except Exception as error:
            if ready.done():
                self.say(f"{spec.name} was started again, but: {error}")
            else:
                ready.set_exception(error)
        else:
            if not ready.done():
                ready.set_result(None)

    def _tell_trouble(self, ready: "asyncio.Future[None]") -> None:
        if not ready.cancelled() and (error := ready.exception()) is not None:
            self.say(str(error))

    async def _stop_all(self) -> None:
        """The youngest first, one after the other; whoever is just being started as well."""
        self.stopped.set()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for name in reversed(list(dict.fromkeys([*self._keepers, *self._children]))):
            if name in self._children:
                await self._children[name].stop()
            if name in self._keepers:
                await asyncio.gather(self._keepers[name], return_exceptions=True)
