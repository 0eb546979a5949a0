"""Is the database there, and are its tables those of this program? Says so before anybody meets a missing table."""

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, ProgrammingError

from worker import revisions
from worker.database import DatabaseAway, lacks_its_file, snapshot, was_broken_off
from worker.domain.errors import TruetickError

#: How SQLite and PostgreSQL say that something of the schema is not there.
_NO_TABLE = (
    "no database file",
    "no such table",
    "no such column",
    "has no column named",
    "undefinedtable",
    "undefinedcolumn",
)
_UPGRADE = "Run `truetick db upgrade` (or `truetick up`, which does it by itself)."
NO_TABLES = f"The database has no tables of Truetick yet. {_UPGRADE}"


class DatabaseNotReady(TruetickError):
    """The database is away, missing or at another revision. The message says what to run."""

    default_code = "database_not_ready"


def require_ready(engine: Engine) -> None:
    """Raise DatabaseNotReady unless the database answers and is at this program's revision. Creates nothing."""
    missing = missing_file(engine)
    if missing:
        raise missing
    try:
        with snapshot(engine) as connection:
            problem = schema_problem(connection)
    except DBAPIError as error:
        raise database_away(engine, error) from None
    if problem:
        raise DatabaseNotReady(problem, code="database_not_migrated")


def missing_file(engine: Engine) -> DatabaseNotReady | None:
    """The sentence for a database of SQLite that has no file yet; None where it has one, or needs none."""
    if not lacks_its_file(engine):
        return None
    return DatabaseNotReady(f"There is no database at {engine.url.database} yet. {_UPGRADE}", code="no_database")


def trouble_of(engine: Engine, error: Exception) -> DatabaseNotReady | None:
    """What an error says about the database as a whole, in a sentence; None for one that has another cause."""
    if lacks_tables(error):
        return missing_file(engine) or DatabaseNotReady(
            f"The database lacks tables or columns of this program. {_UPGRADE}", code="database_not_migrated"
        )
    if not isinstance(error, DatabaseAway):
        return None
    if was_broken_off(error):
        return DatabaseNotReady(
            "The database broke off a transaction because it and another one waited for each other. Nothing of it "
            "was stored, and it is done again.",
            code="deadlock",
        )
    if not isinstance(error, DBAPIError):
        return DatabaseNotReady("The database does not answer: all connections to it hang.", code="database_away")
    return missing_file(engine) or database_away(engine, error)


def lacks_tables(error: Exception) -> bool:
    """Does this error say that the database has not been migrated?"""
    if not isinstance(error, (ProgrammingError, *DatabaseAway)):
        return False
    orig = getattr(error, "orig", None)
    said = f"{type(orig).__name__} {orig}".lower()
    return any(mark in said for mark in _NO_TABLE)


def schema_problem(connection: Connection) -> str | None:
    """What is wrong with the database's revision, in a sentence; None when it is the newest."""
    current = revisions.current(connection)
    newest = revisions.head()
    if current == newest:
        return None
    if current is None:
        return NO_TABLES
    if current in revisions.known():
        return f"The database is at revision {current}, and this program needs {newest}. {_UPGRADE}"
    return (
        f"The database is at revision {current}, which this program does not know. "
        "A newer Truetick has used it: update this one."
    )


def database_away(engine: Engine, error: DBAPIError) -> DatabaseNotReady:
    """The sentence for a database that does not answer; shows where it should be, never who asks nor the password."""
    url = engine.url
    place = URL.create(url.drivername, host=url.host, port=url.port, database=url.database).render_as_string()
    return DatabaseNotReady(
        f"The database at {place} cannot be used ({_short(error)}). "
        "Check that it runs and that DATABASE_URL is right.",
        code="database_away",
    )


def _short(error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:160].rstrip(".")
