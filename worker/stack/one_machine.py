"""The one-machine stack: broker, migrations, gateway or sandbox, worker, beat and web under one supervisor."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from worker.settings import Settings
from worker.stack import parts, ports
from worker.stack.errors import StackFailed
from worker.stack.log_lines import LineSink
from worker.stack.parts import Addresses
from worker.stack.run_lock import only_one
from worker.stack.sandbox import sandbox_child, sandbox_credentials
from worker.stack.supervisor import OWN_NAME, Supervisor
from worker.stack.valkey import broker_child

#: What is done on the running stack; it ends early once the event is set. Answers the exit code.
Story = Callable[[threading.Event], int]


@dataclass(frozen=True, kw_only=True)
class OneMachine:
    """What is to run, and where."""

    settings: Settings
    addresses: Addresses
    environment: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def with_sandbox(self) -> bool:
        """Without a key for the real WaSender there is nobody to talk to but the sandbox."""
        return self.settings.gateway_api_key is None

    def run(self, sink: LineSink, story: Story | None = None) -> int:
        """Until it is interrupted, or the story ends. Raises StackFailed when a part does not start."""
        where = self.addresses
        wanted = [("the web server", where.web_host, where.web_port, "--port")]
        if self.with_sandbox:
            wanted.append(("the sandbox", parts.LOOPBACK, where.sandbox_port, "--sandbox-port"))
        if where.flower_port is not None:
            wanted.append(("Flower", parts.LOOPBACK, where.flower_port, "--flower-port"))
        with only_one(self.settings.var_dir.absolute(), lambda line: sink.write(OWN_NAME, line)) as lock_fd:
            for what, host, port, option in wanted:
                ports.require_free(host, port, what=what, option=option)
            return asyncio.run(self._supervise(sink, lock_fd, story))

    async def _supervise(self, sink: LineSink, lock_fd: int, story: Story | None) -> int:
        async with Supervisor(sink, inherited_fds=(lock_fd,)) as supervisor:
            await supervisor.unless_stopped(self._bring_up(supervisor))
            if supervisor.stopped.is_set():
                return 1 if story else 0
            if story is None:
                for line in self.notice():
                    supervisor.say(line)
                await supervisor.stopped.wait()
                return 0
            return await self._tell(story, supervisor)

    async def _bring_up(self, supervisor: Supervisor) -> None:
        settings, environment = self.settings, self._environment()
        if settings.one_machine_broker:
            await supervisor.keep(broker_child(settings))
        first = [supervisor.run_once(parts.migration(environment))]
        if self.with_sandbox:
            first.append(supervisor.keep(sandbox_child(settings, self.addresses)))
        await asyncio.gather(*first)
        await supervisor.keep(parts.worker_child(environment), wait=False)
        await supervisor.keep(parts.beat_child(environment), wait=False)
        if self.addresses.flower_port is not None:
            flower = parts.flower_child(settings, self.addresses.flower_port, environment)
            await supervisor.keep(flower, wait=False)
        try:
            await supervisor.keep(parts.web_child(settings, self.addresses, environment))
        except StackFailed as error:  # messages flow without it
            supervisor.say(error.message)

    @staticmethod
    async def _tell(story: Story, supervisor: Supervisor) -> int:
        stop = threading.Event()
        telling = asyncio.create_task(asyncio.to_thread(story, stop))
        stopped = asyncio.create_task(supervisor.stopped.wait())
        await asyncio.wait({telling, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        stopped.cancel()
        return await telling

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(parts.SOURCE),
            "TRUETICK_VAR_DIR": str(self.settings.var_dir.absolute()),
            **self.environment,
            **(sandbox_credentials(self.settings, self.addresses) if self.with_sandbox else {}),
        }

    def notice(self) -> list[str]:
        """Where everything is, and whether anything reaches WhatsApp. No key and no password is shown."""
        settings, where = self.settings, self.addresses
        host = f"[{where.web_host}]" if ":" in where.web_host else where.web_host
        lines = [
            f"Web and HTTP API   http://{host}:{where.web_port}/",
            f"HTTP API key       {_key_place(settings)} (the password of the dashboard, too)",
            f"Database           {_without_password(settings.database_url)}",
            f"Broker             {_without_password(settings.broker_url)}",
        ]
        if where.flower_port is not None:
            lines.append(
                f"Flower             http://{parts.LOOPBACK}:{where.flower_port}/ "
                f"(user truetick, password in {parts.flower_key_file(settings)})"
            )
        if self.with_sandbox:
            lines += [
                f"Sandbox WaSender   http://{parts.LOOPBACK}:{where.sandbox_port}/",
                "",
                "THIS IS THE SANDBOX: nothing reaches WhatsApp. Set WASENDER_API_KEY to talk to the real WaSender.",
            ]
        else:
            lines.append(f"WaSender           {_without_password(settings.gateway_url)}")
        return [*lines, "Ready. Ctrl-C stops everything."]


def _key_place(settings: Settings) -> str:
    return "in TRUETICK_API_KEYS" if settings.api_keys else f"in {parts.api_key_file(settings)}"


def _without_password(url: str) -> str:
    """The address without user, password and whatever options a password could stand among."""
    split = urlsplit(url)
    if split.password is None and split.username is None and "pass" not in split.query.lower():
        return url
    place = split.hostname or ""
    port = f":{split.port}" if split.port else ""
    return f"{split.scheme}://{place}{port}{split.path}"
