"""`truetick tokens`: what can be asked for. What it does stands in `worker.cli.token_work`."""

from datetime import timedelta
from typing import Annotated

import typer

from worker.cli.options import AsJson
from worker.domain.access import Scope
from worker.domain.durations import parse_duration
from worker.domain.errors import InvalidRequest

tokens = typer.Typer(invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="The token's name: a-z, 0-9, - and _.", show_default=False)]


def _duration(written: str) -> timedelta:
    try:
        return parse_duration(written)
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None


ExpiresIn = Annotated[
    timedelta | None,
    typer.Option(
        parser=_duration, metavar="TIME", help="It opens nothing after this, such as 90d.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    app.add_typer(tokens, name="tokens")


@tokens.callback()
def show_tokens(context: typer.Context, as_json: AsJson = False) -> None:
    """Make, list, rotate and revoke keys of the HTTP API. Without a command, list them.

    Keys in TRUETICK_API_KEYS open everything; one made here opens what its scopes say: send (hand over messages),
    read (look at messages, channels and changes), operate (withdraw, resend, pause, resume).

    Example: `truetick tokens`

    Example: `truetick tokens add crm --scope send --scope read`
    """
    from worker.cli import token_work

    if not context.invoked_subcommand:
        token_work.list_them(as_json=as_json)


@tokens.command(name="list")
def list_tokens(as_json: AsJson = False) -> None:
    """List the keys: what each opens, until when, and when it was used last. No key itself is ever shown.

    Example: `truetick tokens list`
    """
    from worker.cli import token_work

    token_work.list_them(as_json=as_json)


@tokens.command()
def add(
    name: Name,
    scope: Annotated[list[Scope], typer.Option(help="What it opens; can be repeated.", show_default=False)],
    expires_in: ExpiresIn = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown now and never again; only its digest is stored.

    Example: `truetick tokens add crm --scope send --scope read`

    Example: `truetick tokens add night-shift --scope read --scope operate --expires-in 90d`
    """
    from worker.cli import token_work

    token_work.add(name, frozenset(scope), expires_in=expires_in, as_json=as_json)


@tokens.command()
def rotate(
    name: Name,
    overlap: Annotated[
        timedelta,
        typer.Option(parser=_duration, metavar="TIME", help="How long the former key still opens; 0s: not at all."),
    ] = "24h",  # type: ignore[assignment]  # parsed like what is typed
    expires_in: ExpiresIn = None,
    as_json: AsJson = False,
) -> None:
    """Give a token a new key. The former one opens for a while longer, so that the CRM can change over.

    Example: `truetick tokens rotate crm`

    Example (the former key has leaked): `truetick tokens rotate crm --overlap 0s`
    """
    from worker.cli import token_work

    token_work.rotate(name, overlap=overlap, expires_in=expires_in, as_json=as_json)


@tokens.command()
def revoke(name: Name, as_json: AsJson = False) -> None:
    """End a key for good. It opens nothing more within ten seconds.

    Example: `truetick tokens revoke crm`
    """
    from worker.cli import token_work

    token_work.revoke(name, as_json=as_json)
