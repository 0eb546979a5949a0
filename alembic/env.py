"""Runs the migrations on the connection that `worker.migrate` hands over, or prints their SQL (offline)."""

from alembic import context
from sqlalchemy import Connection, inspect, text

from worker.models import VERSION_TABLE, Base, UtcDateTime

#: Any fixed number: two programs that migrate the same PostgreSQL database wait for each other on it.
ADVISORY_LOCK = 7_207_033_009
#: A migration that cannot get a table's lock gives up instead of stopping everybody behind it.
LOCK_TIMEOUT = "10s"


def _render(kind: str, value: object, _context: object) -> str | bool:
    """Migrations stand alone: our own column type is written as the plain one behind it."""
    if kind == "type" and isinstance(value, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def _configure(**where: object) -> None:
    context.configure(
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        render_item=_render,
        render_as_batch=True,
        compare_type=True,
        transaction_per_migration=False,
        **where,
    )


def _keep_former_version(connection: Connection) -> None:
    """A database of the first days notes its version under Alembic's own name; a CRM's note of that name stays."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables or not {"alembic_version", "channels", "attempts"} <= tables:
        return
    if "lease_token" in {column["name"] for column in inspect(connection).get_columns("channels")}:
        connection.execute(text(f"ALTER TABLE alembic_version RENAME TO {VERSION_TABLE}"))


def _run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    _keep_former_version(connection)
    _configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _configure(url=context.config.get_main_option("sqlalchemy.url"), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    _run(context.config.attributes["connection"])
