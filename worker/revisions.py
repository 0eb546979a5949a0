"""Which revisions of the schema this program knows, and which one a database is at.

Read from the names of the migrations' files (`0003_the_crm_side.py` is revision 0003): every process asks, and
Alembic, which takes a tenth of a second to import, is for those that migrate (`worker.migrate`).
"""

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from worker.models import VERSION_TABLE

_PACKAGE = Path(__file__).resolve().parent
#: A wheel carries the migrations inside the package, a checkout beside it.
_PLACES = (_PACKAGE / "migrations", _PACKAGE.parent / "alembic")


def place() -> Path:
    """The folder of the migrations."""
    return next(place for place in _PLACES if (place / "env.py").exists())


def known() -> list[str]:
    """Every revision that this version of Truetick knows, the oldest first."""
    return sorted(path.name.partition("_")[0] for path in (place() / "versions").glob("[0-9]*_*.py"))


def head() -> str:
    """The newest revision that this version of Truetick knows."""
    return known()[-1]


def current(connection: Connection) -> str | None:
    """The revision that this connection's database is at; None for one without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(
        select(column("version_num")).select_from(table(VERSION_TABLE))
    ).scalar_one_or_none()
    return revision
