"""`truetick db`: the database's schema."""

from typing import Annotated

import typer

from worker.settings import settings

db = typer.Typer(help="Bring the database's tables to the version of this program.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(db, name="db")


@db.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="The revision to go to.")] = "head",
) -> None:
    """Create or update the tables; harmless when there is nothing to do.

    Example: `truetick db upgrade`
    """
    from worker import migrate

    migrate.upgrade(settings().database_url, revision)
    typer.echo(f"The database is at revision {migrate.current(settings().database_url)}.")


@db.command()
def current() -> None:
    """Show the revision that the database is at.

    Example: `truetick db current`
    """
    from worker import migrate

    revision = migrate.current(settings().database_url)
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
    migrate.downgrade(settings().database_url, revision)
    typer.echo(f"The database is at revision {migrate.current(settings().database_url) or 'base (empty)'}.")
