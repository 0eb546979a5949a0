"""Engines and transactions: how this project talks to PostgreSQL and SQLite so that both behave alike."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from worker.var_folder import make_private, make_private_file, writing_to

Result = TypeVar("Result")

#: What a database that is away, restarting, locked or (in a failover) read-only raises, and a pool whose connections
#: all hang on one that is stuck: the work is worth trying again.
DatabaseAway = (OperationalError, InterfaceError, InternalError, PoolTimeout)

#: What PostgreSQL says to the one transaction of several that it breaks off so that the others can go on.
_BROKEN_OFF = frozenset({"40P01", "40001"})

_POSTGRES_OPTIONS = {
    "connect_timeout": 5,
    "options": "-c timezone=UTC",
    # No prepared names, so that a pooler in transaction mode works too.
    "prepare_threshold": None,
    # A server that vanishes without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_SNAPSHOT = "truetick_snapshot"
SQLITE_BUSY_TIMEOUT_MS = 30_000


def open_engine(url: str, *, pool_size: int = 10, may_create: bool = False) -> Engine:
    """An engine whose transactions are durable and whose connections are tested before use.

    On SQLite every writing transaction takes the write lock at its start, so it can never fail half-way with "busy",
    and only a migration (`may_create`) makes the file: an empty one would look like a database.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _open_sqlite(url, address.database, may_create=may_create)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=10,
        hide_parameters=True,  # errors are logged; texts and numbers are not
        connect_args=_POSTGRES_OPTIONS if address.get_backend_name() == "postgresql" else {},
    )
    # Many rows go out as one INSERT, which costs a fraction of one statement a row.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    return engine


def _open_sqlite(url: str, path: str | None, *, may_create: bool) -> Engine:
    if path and path != ":memory:" and may_create:
        folder = Path(path).parent
        with writing_to(folder):
            make_private(folder)
            make_private_file(Path(path))  # SQLite gives -wal and -shm the modes that the database has
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_MS / 1000}, hide_parameters=True)

    _SQLITE_WRITERS[engine] = threading.RLock()

    @event.listens_for(engine, "do_connect")
    def _only_what_is_there(*_: Any) -> None:
        if path and path != ":memory:" and not may_create and not Path(path).exists():
            raise sqlite3.OperationalError("there is no database file")

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours, below
        connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        snapshot = connection.get_execution_options().get(_SNAPSHOT, False)
        connection.exec_driver_sql("BEGIN" if snapshot else "BEGIN IMMEDIATE")

    return engine


def lacks_its_file(engine: Engine) -> bool:
    """Is it a database of SQLite whose file is not there?"""
    path = engine.url.database
    return engine.url.get_backend_name() == "sqlite" and bool(path) and not Path(str(path)).exists()


#: SQLite has one write lock and wakes those who wait for it by polling, up to 100 ms late. The threads of a process
#: line up here instead, so that only processes poll.
_SQLITE_WRITERS: WeakKeyDictionary[Engine, threading.RLock] = WeakKeyDictionary()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A writing transaction: committed at the end, rolled back on any error."""
    with _SQLITE_WRITERS.get(engine, nullcontext()), engine.begin() as connection:
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A reading transaction: one consistent view that blocks no writer and is never committed."""
    with engine.connect().execution_options(**{_SNAPSHOT: True}) as connection:
        yield connection


#: So often work is done that the database breaks off each time in favour of somebody else's.
MOST_TRIES = 3


def was_broken_off(error: BaseException) -> bool:
    """Did transactions wait for each other, and this one was sacrificed? Nothing of it is stored: do it again."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _BROKEN_OFF


def despite_deadlocks(work: Callable[[], Result]) -> Result:
    """What `work`, one transaction, gives; it is begun anew when it is broken off, a few times."""
    for _ in range(MOST_TRIES - 1):
        try:
            return work()
        except OperationalError as error:
            if not was_broken_off(error):
                raise
    return work()


def insert_unless_there(connection: Connection, table: type[DeclarativeBase]) -> Any:
    """An INSERT that does nothing where a unique column already holds the value; add `.values(…)`."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()


#: From so many rows on, one document is cheaper than thousands of parameters.
MANY_ROWS = 50


def insert_many(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, returning: Sequence[str] = ()
) -> Sequence[Any]:
    """Insert rows (by the names of columns, all with the same ones) in their order, but for those that are there.

    Gives the columns in `returning` of those that were inserted. PostgreSQL takes many as one JSON document: taking
    apart a statement with a parameter for each value would cost more than storing them.
    """
    if connection.dialect.name != "postgresql" or len(rows) < MANY_ROWS:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement: Any = insert(table).on_conflict_do_nothing()
        if not returning:
            connection.execute(statement, [dict(row) for row in rows])
            return ()
        wanted = (table.c[name] for name in returning)
        return connection.execute(statement.returning(*wanted), [dict(row) for row in rows]).all()
    defaults = {c.name: c.default.arg for c in table.c if isinstance(c.default, ScalarElementColumnDefault)}
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(quote(name) for name in {**defaults, **rows[0]})
    document = json.dumps([{**defaults, **row} for row in rows], default=_as_json)
    given = f"RETURNING {', '.join(quote(name) for name in returning)}" if returning else ""
    inserted = connection.execute(
        text(
            f"INSERT INTO {quote(table.name)} ({columns}) SELECT {columns} "  # noqa: S608 - names of our own tables
            f"FROM json_populate_recordset(CAST(NULL AS {quote(table.name)}), CAST(:document AS json)) "
            f"ON CONFLICT DO NOTHING {given}"
        ),
        {"document": document},
    )
    return inserted.all() if returning else ()


def _as_json(value: object) -> str:
    """Times and UUIDs as PostgreSQL reads them."""
    return value.isoformat() if isinstance(value, datetime) else str(value)
