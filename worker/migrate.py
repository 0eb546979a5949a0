"""Schema migrations: brings a database to a revision. The migrations themselves stand in `alembic/`."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from worker import revisions
from worker.database import lacks_its_file, open_engine, snapshot, transaction
from worker.models import VERSION_TABLE, Base


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(revisions.place()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`, in one transaction. Harmless when it is there, or when two run at once."""
    engine = open_engine(url, may_create=True)
    try:
        with transaction(engine) as connection:
            command.upgrade(_config(connection), revision)
    finally:
        engine.dispose()


def downgrade(url: str, revision: str) -> None:
    """Take migrations back down to `revision` ("base" drops every table and all messages)."""
    engine = open_engine(url)
    try:
        with transaction(engine) as connection:
            command.downgrade(_config(connection), revision)
    finally:
        engine.dispose()


def current(url: str) -> str | None:
    """The revision the database is at; None for an empty one, and for a file that is not there."""
    engine = open_engine(url)
    try:
        if lacks_its_file(engine):
            return None
        with snapshot(engine) as connection:
            return revisions.current(connection)
    finally:
        engine.dispose()


def differences(url: str) -> list[object]:
    """What autogenerate would change in the database so that it fits the models; empty when nothing."""
    engine = open_engine(url)
    try:
        with snapshot(engine) as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "version_table": VERSION_TABLE}
            )
            return list(compare_metadata(context, Base.metadata))
    finally:
        engine.dispose()
