"""`truetick check`, also installed as `check-whatsapp-connection`: what can be asked for.

What it does stands in `worker.cli.check_work`.
"""

import re
from datetime import timedelta
from typing import Annotated

import typer

from worker.cli import usage
from worker.cli.options import AsJson
from worker.domain.channel_state import NAME
from worker.domain.durations import parse_duration
from worker.domain.errors import InvalidRequest

#: As long as a test message can still go out.
LONGEST_TIMEOUT_S = 300
#: A tick that is older proves nothing, whoever says so.
LONGEST_PROOF = timedelta(days=7)


def register(app: typer.Typer) -> None:
    app.command()(check)


def alone() -> typer.Typer:
    """The same as a program of its own."""
    app = typer.Typer(
        name="check-whatsapp-connection",
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(cls=usage.Command)(check)
    return app


def _duration(written: str) -> str:
    try:
        duration = parse_duration(written)
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None
    if not timedelta(0) < duration <= LONGEST_PROOF:
        raise typer.BadParameter("a tick proves something for up to 7 days.")
    return written


def check(
    test_to: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Send a test message to this number, and follow it to WhatsApp's tick."),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            help="Check only this channel; send the test message by it (else by the default channel, or the only "
            "one with a key).",
            show_default="all",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The test message's text.", show_default=False)] = None,
    timeout: Annotated[
        float, typer.Option(min=1, max=LONGEST_TIMEOUT_S, metavar="SECONDS", help="Follow it for so long.")
    ] = 25.0,
    proof_within: Annotated[
        str,
        typer.Option(
            metavar="TIME", callback=_duration, help="A tick proves sending for so long (90s, 30m, up to 7d)."
        ),
    ] = "24h",
    as_json: AsJson = False,
) -> None:
    """Check everything that sending stands on, in the order in which trouble is best sought.

    Each check is ✓ (ok), ✗ (failed), ? (not known, or the evidence is too old) or – (skipped), with its evidence and
    what to do. A green status proves nothing here: only WhatsApp's tick does. Nothing is sent without --test-to.

    Exit code 0 when sending is proven on every channel with a key (with --test-to: by that very message), 1 when it
    is not, 2 when the command line is wrong.

    Example: `truetick check`

    Example: `truetick check --test-to "+91 70330 09600"`

    Example: `truetick check --channel sales --proof-within 30m --json`
    """
    from worker.cli import check_work

    if text is not None and not 0 < len(text.strip()) <= 1000:
        raise typer.BadParameter("it has to have 1 to 1000 characters.", param_hint="--text")
    if text is not None and any("\ud800" <= char <= "\udfff" for char in text):
        raise typer.BadParameter("it has bytes that are no characters.", param_hint="--text")
    if channel is not None and re.fullmatch(NAME, channel) is None:
        raise typer.BadParameter("a channel's name has 1 to 64 of a-z, 0-9, - and _.", param_hint="--channel")
    proven = check_work.check(
        channel=channel,
        test_to=test_to,
        text=text,
        timeout_s=timeout,
        within=parse_duration(proof_within),
        as_json=as_json,
    )
    if not proven:
        raise typer.Exit(1)
