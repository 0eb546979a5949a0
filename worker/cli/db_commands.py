"""`truetick db`: the database's schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from worker.cli.options import AsJson
from worker.domain.errors import InvalidRequest

db = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(db, name="db")


@db.callback()
def tables() -> None:
    """Bring the database's tables to the version of this program, or see at which one they are.

    Example: `truetick db upgrade`
    """


@contextmanager
def _database() -> Iterator[str]:
    """Its address. What goes wrong with it is told in a sentence."""
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from worker import readiness, revisions
    from worker.database import open_engine
    from worker.settings import settings

    url = settings().database_url
    try:
        yield url
    except CommandError as error:
        raise InvalidRequest(
            f"That revision is not to be had: {str(error).rstrip('.')}. There are: {', '.join(revisions.known())}.",
            code="unknown_revision",
        ) from None
    except DBAPIError as error:
        engine = open_engine(url)
        raise readiness.missing_file(engine) or readiness.database_away(engine, error) from None


@db.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go to.")] = "head",
) -> None:
    """Create or update the tables; harmless when there is nothing to do.

    Example: `truetick db upgrade`
    """
    from worker import migrate

    with _database() as url:
        migrate.upgrade(url, revision)
        typer.echo(f"The database is at revision {migrate.current(url)}.")


@db.command()
def current(as_json: AsJson = False) -> None:
    """Show the revision that the database is at.

    Example: `truetick db current --json`
    """
    from worker import migrate, revisions
    from worker.cli import display

    with _database() as url:
        revision = migrate.current(url)
    if as_json:
        display.print_json({"revision": revision, "newest": revisions.head()})
    else:
        typer.echo(revision or "The database is empty; run `truetick db upgrade`.")


@db.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help='The revision to go back to; "base" drops every table.')],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Take the tables back to an older revision. Data that the older one has no place for is lost.

    Example: `truetick db downgrade 0001 --yes`
    """
    from worker import migrate

    if not yes:
        typer.confirm(f"Go back to {revision}? Data that it has no place for is lost.", abort=True)
    with _database() as url:
        migrate.downgrade(url, revision)
        typer.echo(f"The database is at revision {migrate.current(url) or 'base (empty)'}.")
