"""`truetick status` and `channels`: what can be asked for. What they do stands in `worker.cli.channel_work`."""

import sys
from typing import Annotated

import typer

from worker.cli import channel_setting_commands, linking_commands
from worker.cli.options import LAST_ID, AsJson, ChannelName, DailyCap, FirstContacts

channels = typer.Typer(invoke_without_command=True)


ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="TRUETICK_CHANNEL_API_KEY",
        help="WaSender's API key of the session; - reads it from standard input. Asked for when left out.",
        show_default=False,
    ),
]

WebhookSecret = Annotated[
    str | None,
    typer.Option(
        envvar="TRUETICK_CHANNEL_WEBHOOK_SECRET",
        help="WaSender's webhook secret of the session; - reads it from standard input. Asked for when left out.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(status)
    channel_setting_commands.register(channels)
    linking_commands.register(channels)
    app.add_typer(channels, name="channels")


def status(as_json: AsJson = False) -> None:
    """Show whether each channel can send, what to do about those that cannot, and how much is waiting.

    Exit code 0 when messages flow on every channel with a key; 1 when one is not up, when WaSender does not answer
    well or asked to wait, or when nobody has checked lately.

    Example: `truetick status --json`
    """
    from worker.cli import channel_work

    if not channel_work.status(as_json=as_json):
        raise typer.Exit(1)


@channels.callback()
def list_unless_told(context: typer.Context, as_json: AsJson = False) -> None:
    """List, add, pause, resume, set up and reconnect channels (WhatsApp numbers). Without a command, list them.

    Example: `truetick channels`

    Example: `truetick channels add sales --pace 256/60`
    """
    from worker.cli import channel_work

    if not context.invoked_subcommand:
        channel_work.list_them(as_json=as_json)


@channels.command("list")
def list_channels(as_json: AsJson = False) -> None:
    """List the channels, their states, and what to do about those that cannot send.

    Example: `truetick channels list`

    Example: `truetick channels list --json`
    """
    from worker.cli import channel_work

    channel_work.list_them(as_json=as_json)


@channels.command()
def add(
    name: ChannelName,
    api_key: ApiKey = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option(envvar="TRUETICK_CHANNEL_WEBHOOK_SECRET", help="The session's webhook secret."),
    ] = None,
    session_id: Annotated[
        int | None, typer.Option(min=1, max=LAST_ID, help="WaSender's number of the session.")
    ] = None,
    pace: Annotated[str, typer.Option(metavar="N/S", help="At most N messages in S seconds.")] = "1/5",
    daily_cap: DailyCap = None,
    first_contacts: FirstContacts = None,
    pool: Annotated[
        str | None, typer.Option(metavar="POOL", help="Channels of one pool may stand in for each other.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a channel. Its key is kept encrypted; it sends once WaSender says that it is connected.

    Other users of this machine can see a key on the command line: leave it out to be asked, or pipe it in.

    Example: `truetick channels add sales`

    Example: `truetick channels add sales --api-key - --pace 256/60 < key-file`

    Example: `truetick channels add trial --pace 1/60 --daily-cap 50`

    Example: `truetick channels add sales-2 --pool sales --first-contacts 100`
    """
    from worker.cli import channel_work

    channel_work.add(
        name,
        api_key=_api_key(api_key),
        webhook_secret=webhook_secret,
        session_id=session_id,
        pace=pace,
        daily_cap=daily_cap,
        first_contacts=first_contacts,
        pool=pool,
        as_json=as_json,
    )


@channels.command()
def set_key(name: ChannelName, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Replace a channel's API key, and have it checked anew. A block for a bad key ends by that.

    Other users of this machine can see a key on the command line: leave it out to be asked, or pipe it in.

    Example: `truetick channels set-key sales`

    Example: `truetick channels set-key sales --api-key - < key-file`
    """
    from worker.cli import channel_work

    channel_work.set_key(name, api_key=_api_key(api_key), as_json=as_json)


@channels.command()
def set_webhook_secret(name: ChannelName, secret: WebhookSecret = None, as_json: AsJson = False) -> None:
    """Set or replace the secret that WaSender's webhooks for a channel have to come with.

    Other users of this machine can see a secret on the command line: leave it out to be asked, or pipe it in.

    Example: `truetick channels set-webhook-secret sales`

    Example: `truetick channels set-webhook-secret sales --secret - < secret-file`
    """
    from worker.cli import channel_work

    given = _given(secret, "WaSender's webhook secret of the session", "TRUETICK_CHANNEL_WEBHOOK_SECRET", "--secret")
    channel_work.set_webhook_secret(name, secret=given, as_json=as_json)


@channels.command()
def pause(name: ChannelName, as_json: AsJson = False) -> None:
    """Stop sending on a channel. Its messages wait; nothing is lost.

    Example: `truetick channels pause sales`
    """
    from worker.cli import channel_work

    channel_work.pause(name, as_json=as_json)


@channels.command()
def resume(name: ChannelName, as_json: AsJson = False) -> None:
    """Let a paused or blocked channel go on, once WaSender says that it is connected.

    Example: `truetick channels resume sales`
    """
    from worker.cli import channel_work

    channel_work.resume(name, as_json=as_json)


def _api_key(given: str | None) -> str:
    return _given(given, "WaSender's API key of the session", "TRUETICK_CHANNEL_API_KEY", "--api-key")


def _given(value: str | None, what: str, variable: str, option: str) -> str:
    """A secret from its option, from standard input, or from whoever is asked for it."""
    if value == "-":
        return sys.stdin.readline()
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"there is nobody to ask for it; set {variable}, or pipe it in with {option} -", param_hint=option
        )
    answer: str = typer.prompt(f"{what} (it is not shown)", hide_input=True)
    return answer
