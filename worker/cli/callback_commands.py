"""`truetick callbacks`: what can be asked for. What it does stands in `worker.cli.callback_work`."""

import sys
from datetime import datetime
from typing import Annotated

import typer

from worker.cli.options import AsJson

callbacks = typer.Typer(invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="The endpoint's name: a-z, 0-9, - and _.", show_default=False)]
OfOne = Annotated[str | None, typer.Argument(help="Only those of this endpoint.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the oldest first.")]
Secret = Annotated[
    str | None,
    typer.Option(
        help="The signing secret (whsec_…); - reads it from standard input. Left out, one is made.",
        show_default=False,
    ),
]


def _moment(written: str) -> datetime:
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter("write a time with its zone, such as 2026-11-22T18:00:00+05:30")
    return moment


def register(app: typer.Typer) -> None:
    app.add_typer(callbacks, name="callbacks")


@callbacks.callback()
def show_endpoints(context: typer.Context, as_json: AsJson = False) -> None:
    """Whom Truetick tells of status changes: list, add, test and remove endpoints. Without a command, list them.

    An endpoint is an https address that gets signed POSTs, or a Celery task in the CRM's own queue. The one named
    default is the address in TRUETICK_CALLBACK_URL.

    Example: `truetick callbacks`

    Example: `truetick callbacks add crm https://crm.example.com/truetick`
    """
    from worker.cli import callback_work

    if not context.invoked_subcommand:
        callback_work.list_them(as_json=as_json)


@callbacks.command(name="list")
def list_endpoints(as_json: AsJson = False) -> None:
    """List the endpoints: whether they take callbacks, what is wrong if not, and how much waits.

    Example: `truetick callbacks list --json`
    """
    from worker.cli import callback_work

    callback_work.list_them(as_json=as_json)


@callbacks.command()
def add(
    name: Name,
    address: Annotated[
        str, typer.Argument(help="https://…, http://… or celery:TASK@QUEUE on the same broker.", show_default=False)
    ],
    secret: Secret = None,
    as_json: AsJson = False,
) -> None:
    """Add an endpoint; it is told what happens from now on. Its signing secret is shown now and never again.

    Other users of this machine can see a secret on the command line: pipe it in, or have one made.

    Example: `truetick callbacks add crm https://crm.example.com/truetick`

    Example: `truetick callbacks add crm https://crm.example.com/truetick --secret - < secret-file`

    Example: `truetick callbacks add crm celery:crm.tasks.on_status@crm`
    """
    from worker.cli import callback_work

    callback_work.add(name, address, secret=_given(secret), as_json=as_json)


@callbacks.command()
def set_secret(name: Name, secret: Secret = None, as_json: AsJson = False) -> None:
    """Replace an endpoint's signing secret; the next callback is signed with it. A new one is shown once.

    Example: `truetick callbacks set-secret crm`
    """
    from worker.cli import callback_work

    callback_work.set_secret(name, secret=_given(secret), as_json=as_json)


@callbacks.command()
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Even if it has not been told everything.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove an endpoint with all that it has not been told yet.

    Example: `truetick callbacks remove crm --yes`
    """
    from worker.cli import callback_work

    callback_work.remove(name, yes=yes, as_json=as_json)


@callbacks.command()
def pending(name: OfOne = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the callbacks that wait to be told, with what went wrong last.

    Example: `truetick callbacks pending crm`
    """
    from worker.cli import callback_work

    callback_work.undelivered("waiting", name, limit=limit, as_json=as_json)


@callbacks.command()
def parked(name: OfOne = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the callbacks that were given up after a day of retries, or refused for good.

    Example: `truetick callbacks parked`
    """
    from worker.cli import callback_work

    callback_work.undelivered("parked", name, limit=limit, as_json=as_json)


@callbacks.command()
def replay(
    name: Name,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=_moment,
            metavar="TIME",
            help="Only of messages with a parked change from then on (ISO 8601 with a zone).",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have an endpoint's parked callbacks told again, in their order, for another day.

    Example: `truetick callbacks replay crm`

    Example: `truetick callbacks replay crm --since 2026-11-22T18:00:00+05:30`
    """
    from worker.cli import callback_work

    callback_work.replay(name, since=since, as_json=as_json)


@callbacks.command(name="test")
def try_out(name: Name, as_json: AsJson = False) -> None:
    """Tell an endpoint something that means nothing, once, and say what it answered.

    Exit code 0 when it was taken, 1 when not.

    Example: `truetick callbacks test crm`
    """
    from worker.cli import callback_work

    if not callback_work.try_out(name, as_json=as_json):
        raise typer.Exit(1)


def _given(option: str | None) -> str | None:
    return sys.stdin.readline() if option == "-" else option
