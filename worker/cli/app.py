"""Puts the commands together, and turns every deliberate error into one sentence and exit code 1."""

import sys
from typing import Annotated

import typer

from worker.cli import (
    audit_commands,
    callback_commands,
    channel_commands,
    check_commands,
    db_commands,
    import_commands,
    message_commands,
    opt_out_commands,
    outage_commands,
    stack_commands,
    token_commands,
    usage,
)
from worker.domain.errors import TruetickError

app = typer.Typer(
    name="truetick",
    cls=usage.Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def truetick(
    version: Annotated[
        bool, typer.Option("--version", callback=usage.say_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """An outbound WhatsApp queue that says "sent" only when WhatsApp has ticked the message.

    Example: `truetick up`

    Example: `truetick send "+91 70330 09600" "Hello"`
    """


stack_commands.register(app)
message_commands.register(app)
import_commands.register(app)
audit_commands.register(app)
channel_commands.register(app)
outage_commands.register(app)
opt_out_commands.register(app)
callback_commands.register(app)
token_commands.register(app)
check_commands.register(app)
db_commands.register(app)


def run(commands: typer.Typer) -> None:
    """Exit codes: 0 done, 1 it could not be done (the reason is on stderr, and with --json on stdout as well, as
    `{"error": {"code", "message"}}`), 2 the command line is wrong.
    """
    try:
        commands()
    except TruetickError as error:
        typer.echo(error.message, err=True)
        sys.exit(1)


def main() -> None:
    run(app)


def check_whatsapp_connection() -> None:
    """`truetick check` under the name that people of other installations know it by."""
    run(check_commands.alone())


if __name__ == "__main__":
    main()
