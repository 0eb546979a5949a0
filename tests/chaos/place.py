"""Where a run takes place: servers, sandbox, channels and processes of one of the two setups. Breaks nothing."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from tests.live_stack import LiveStack
from tests.real_servers import Postgres, Valkey, running_postgres, running_valkey, wait_until
from wasender_sandbox.control import Sandbox
from wasender_sandbox.process import SandboxProcess
from wasender_sandbox.world import DEFAULT_PAT
from worker import migrate
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.clock import system_clock
from worker.database import open_engine, transaction
from worker.domain.pace import Pace
from worker.settings import read_settings
from worker.stack.ports import free_port
from worker.stack.probes import http_answers
from worker.vault import Vault

API_KEY = "a-key-for-the-crm-of-the-chaos"
SECRET_KEY = "Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtMTI="
WINDOW = 20
#: What may be in flight on one channel besides (see the lanes of a drain run).
IN_FLIGHT = 4
#: The sandbox allows a little more than the pace, so that what this busy machine delivers bunched is not held against
#: the pace: twenty POSTs may shift by 60 ms against each other.
PACE, LIMIT = Pace(20, 1), "21/1"
#: Which of its two events about a send a channel gets: each names the message in its own way.
SEND_EVENTS = ("messages.upsert", "message.sent")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What runs: `postgresql` or `sqlite`, and how many workers."""

    name: str
    database: str
    workers: tuple[str, ...]


SETUPS = (
    Setup(name="PostgreSQL, Valkey, 2 workers", database="postgresql", workers=("one", "two")),
    Setup(name="one machine: SQLite, Valkey, 1 worker", database="sqlite", workers=("one",)),
)


class Database(AbstractContextManager[None]):
    """The database of a run: entered, it is away; left, it is back."""

    def __init__(self, url: str, server: Postgres | None) -> None:
        self.url = url
        self._server = server
        self._locker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        if self._server is not None:
            self._server.stop_at_once()
        else:
            self._locker = subprocess.Popen(
                [sys.executable, "-c", _LOCK, self.url.removeprefix("sqlite:///")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert self._locker.stdout is not None
            assert self._locker.stdout.readline() == b"locked\n", "the database could not be locked"

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.start_again()
        elif self._locker is not None:
            self._locker.communicate()


#: Another program that does not let go of the file: nobody can write until its input ends.
_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Everything that the CRM, the mischief and the judge's clerk need to reach."""

    setup: Setup
    folder: Path
    channels: tuple[str, ...]
    secrets: dict[str, str] = field(repr=False)
    engine: Engine
    database: Database
    broker: Valkey
    sandbox_url: str
    web_port: int
    stack: LiveStack

    @property
    def told(self) -> tuple[str, ...]:
        """The channels that have webhooks; of the others everything is learnt by asking."""
        return tuple(name for number, name in enumerate(self.channels) if number % 4 != 3)

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def sandbox(self) -> Sandbox:
        """A control of one's own: they are not shared between threads."""
        return Sandbox(self.sandbox_url, timeout_s=60)

    def start(self, name: str) -> None:
        """Start one of the processes: a worker, `beat` or `web`."""
        if name == "beat":
            self.stack.beat()
        elif name == "web":
            self.stack.web(self.web_port)
        else:
            self.stack.worker(name, "--without-mingle", "--without-gossip")


@contextmanager
def standing(
    setup: Setup, folder: Path, *, seed: int, channels: int, with_logs: bool, settings: dict[str, str]
) -> Iterator[Place]:
    """A whole stack, migrated, with channels that the sandbox knows, all processes up.

    `with_logs`: a personal access token, so that WaSender's message logs are read and mute sessions are restarted.
    """
    with ExitStack() as stack:
        database = stack.enter_context(_database(setup, folder))
        broker = stack.enter_context(running_valkey())
        sandbox = stack.enter_context(SandboxProcess(seed=seed))
        engine = open_engine(database.url)
        stack.callback(engine.dispose)
        names = tuple(f"channel-{number}" for number in range(channels))
        port = free_port()
        environment = {
            "DATABASE_URL": database.url,
            "CELERY_BROKER_URL": broker.url,
            "TRUETICK_VAR_DIR": str(folder / "var"),
            "TRUETICK_API_KEYS": API_KEY,
            "TRUETICK_REQUESTS_PER_MINUTE": "100000",
            "TRUETICK_SECRET_KEY": SECRET_KEY,
            "TRUETICK_PACE": str(PACE),
            "TRUETICK_MAX_UNACKED": str(WINDOW),
            "WASENDER_BASE_URL": sandbox.api_url,
            **({"WASENDER_PERSONAL_ACCESS_TOKEN": DEFAULT_PAT} if with_logs else {}),
            **settings,
        }
        place = Place(
            setup=setup,
            folder=folder,
            channels=names,
            secrets={name: secrets.token_hex(16) for name in names},
            engine=engine,
            database=database,
            broker=broker,
            sandbox_url=sandbox.base_url,
            web_port=port,
            stack=stack.enter_context(LiveStack(folder, environment)),
        )
        _open_channels(place)
        for name in (*setup.workers, "beat", "web"):
            place.start(name)
        for name in setup.workers:
            place.stack.until_ready(name)
        wait_until(lambda: http_answers("127.0.0.1", port, "/healthz"), within_s=30, what="the web server's start")
        yield place


@contextmanager
def _database(setup: Setup, folder: Path) -> Iterator[Database]:
    if setup.database == "sqlite":
        url = f"sqlite:///{folder / 'truetick.db'}"
        migrate.upgrade(url)
        yield Database(url, None)
    else:
        with running_postgres() as server:
            server.tell_when_committed()
            with server.database() as url:
                yield Database(url, server)


def _open_channels(place: Place) -> None:
    vault = Vault(read_settings(TRUETICK_SECRET_KEY=SECRET_KEY, _env_file=None))
    with place.sandbox() as sandbox:
        sandbox.latency(before="0.005-0.02", after="0.005-0.02")
        for number, name in enumerate(place.channels):
            key, told = f"{number + 1:064x}", name in place.told
            address = f"{place.web_url}/webhooks/wasender/{name}" if told else None
            row = sandbox.create_channel(
                *(name, key, LIMIT),
                limit_mode="sliding",
                log_messages=True,
                webhook_url=address,
                webhook_secret=place.secrets[name],
                webhook_enabled=told,
                webhook_events=["messages.update", "session.status", SEND_EVENTS[number % len(SEND_EVENTS)]],
            )
            new = NewChannel(
                name=name,
                pace=PACE,
                api_key_encrypted=vault.seal(key),
                webhook_secret_encrypted=vault.seal(place.secrets[name]),
                gateway_session_id=row["id"] if number % 2 else None,
            )
            with transaction(place.engine) as connection:
                registry.add(connection, new, system_clock())
