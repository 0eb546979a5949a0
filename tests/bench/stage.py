"""Where a measurement takes place: real servers, a sandbox, a fresh database, and the project's own processes."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from celery import Celery
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine, insert

from tests import programs
from tests.live_stack import LiveStack
from tests.programs import Start
from tests.real_servers import Postgres, Valkey, running_postgres, running_valkey, wait_until
from wasender_sandbox.control import Sandbox
from wasender_sandbox.process import SandboxProcess
from worker.clock import system_clock
from worker.database import open_engine, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.pace import Pace
from worker.models import Channel
from worker.settings import read_settings
from worker.stack.ports import free_port
from worker.stack.probes import http_answers
from worker.vault import Vault

SECRET_KEY = "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtMTI="
#: Of the default channel.
API_KEY = "5a" * 32
WEBHOOK_SECRET = "7c" * 16
CRM_KEY = "a-key-for-the-crm-of-the-bench"


def channel_key(name: str) -> str:
    """The API key of a channel that a measurement opens."""
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What all measurements share."""

    postgres: Postgres
    broker: Valkey
    sandbox: SandboxProcess
    console: Console
    start: Start = programs.cold


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One measurement's own: an empty database, broker and sandbox."""

    database_url: str
    engine: Engine
    broker: Valkey
    sandbox: Sandbox
    sandbox_pid: int
    folder: Path
    web_port: int
    console: Console = field(repr=False)
    start: Start

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "CELERY_BROKER_URL": self.broker.url,
            "WASENDER_BASE_URL": self.sandbox.api_url,
            "TRUETICK_SECRET_KEY": SECRET_KEY,
            "TRUETICK_API_KEYS": CRM_KEY,
            "TRUETICK_VAR_DIR": str(self.folder / "var"),
            **settings,
        }

    @contextmanager
    def processes(self, *names: str, **settings: str) -> Iterator[dict[str, int]]:
        """Real `worker`, `second worker`, `beat` and `web` processes, ready; gives their pids."""
        with LiveStack(self.folder, self.environment(**settings), self.start) as stack:
            starters = {"worker": lambda: stack.worker("worker"), "beat": stack.beat}
            starters |= {"second worker": lambda: stack.worker("second"), "web": lambda: stack.web(self.web_port)}
            pids = {name: starters[name]().pid for name in names}
            for name, process in (("worker", "worker"), ("second worker", "second")):
                if name in names:
                    stack.until_ready(process)
            if "web" in names:
                wait_until(
                    lambda: http_answers("127.0.0.1", self.web_port, "/healthz"), within_s=30, what="the web server"
                )
            yield pids
            assert stack.ended() == [], "a process ended during the measurement"

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield progress

    def pass_time(self, what: str, seconds: float) -> None:
        """Wait visibly."""
        ends_at = time.monotonic() + seconds
        with self.progress() as progress:
            task = progress.add_task(f"{what} (s)", total=round(seconds))
            while (left_s := ends_at - time.monotonic()) > 0:
                progress.update(task, completed=int(seconds - left_s))
                time.sleep(min(0.5, left_s))

    def open_channels(
        self, count: int, pace: Pace, *, state: ChannelState, prefix: str = "bench", **limits: str
    ) -> list[int]:
        """Channels that the sandbox knows, too; `limits` are the sandbox's. Returns their ids."""
        vault = Vault(read_settings(TRUETICK_SECRET_KEY=SECRET_KEY, _env_file=None))
        now, rows = system_clock(), []
        with self.progress() as progress:
            for number in progress.track(range(count), description="opening channels"):
                name = f"{prefix}-{number}"
                key = channel_key(name)
                self.sandbox.create_channel(name, api_key=key, **limits)
                rows.append(
                    {
                        "name": name,
                        "api_key_encrypted": vault.seal(key),
                        "pace_messages": pace.messages,
                        "pace_seconds": pace.seconds,
                        "created_at": now,
                        "state": state,
                        "reason": "connected" if state is ChannelState.UP else "",
                        "since": now,
                        "check_due_at": now,
                        "next_slot_at": now,
                        "failures": 0,
                    }
                )
        with transaction(self.engine) as connection:
            ids = connection.execute(insert(Channel).returning(Channel.id, sort_by_parameter_order=True), rows)
            return list(ids.scalars())


@contextmanager
def running_servers(console: Console) -> Iterator[Servers]:
    with running_postgres() as postgres, running_valkey() as broker, SandboxProcess() as sandbox:
        yield Servers(postgres=postgres, broker=broker, sandbox=sandbox, console=console)


@contextmanager
def empty_stage(servers: Servers) -> Iterator[Stage]:
    """An empty database, an empty broker and a sandbox without memory. Says how busy the machine is."""
    load, cores = os.getloadavg()[0], psutil.cpu_count()
    servers.console.print(f"[dim]load of this machine before it begins: {load:.1f} on {cores} cores[/dim]")
    servers.broker.client.flushall()
    servers.sandbox.control.reset()
    with ExitStack() as stack:
        url = stack.enter_context(servers.postgres.database())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tt-bench-")))
        engine = open_engine(url)
        stack.callback(engine.dispose)
        sandbox = stack.enter_context(Sandbox(servers.sandbox.base_url, timeout_s=60))
        yield Stage(
            database_url=url,
            engine=engine,
            broker=servers.broker,
            sandbox=sandbox,
            sandbox_pid=servers.sandbox.pid,
            folder=folder,
            web_port=free_port(),
            console=servers.console,
            start=servers.start,
        )


@contextmanager
def bare_worker(stage: Stage, app: str, *options: str, **settings: str) -> Iterator[int]:
    """A worker process of any Celery app, without beat, as long as it is needed. Gives its pid."""
    process = stage.start(
        *("celery", "-A", app, "worker", "--pool", "threads", "--concurrency", "8", *options),
        environment=os.environ | stage.environment(**settings),
        output=stage.folder / f"{app}.log",
    )
    try:
        with Celery(broker=stage.broker.url, set_as_current=False) as crm:
            wait_until(lambda: crm.control.ping(timeout=0.5), within_s=30, what="the worker's start")
        time.sleep(1)  # what a worker does once at its start is not counted
        yield process.pid
    finally:
        process.kill()
        process.wait()
