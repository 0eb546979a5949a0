"""`truetick import`: what can be asked for. What it does stands in `worker.cli.import_work`."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.message_commands import CheckNumber, Moment, Priority, QuietHours
from worker.cli.options import AsJson
from worker.domain.errors import InvalidRequest


def register(app: typer.Typer) -> None:
    app.command(name="import")(import_table)


def import_table(
    table: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="A CSV file.")
    ],
    text_template: Annotated[
        str, typer.Option(help="The text; {{name}} stands for the row's cell in the column `name`.")
    ],
    to_column: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The numbers' column; found by its name (phone, to, mobile…)."),
    ] = None,
    ref_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Becomes the message's crm_ref; if left out, crm_ref does.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Which channel sends them.", show_default="default")] = None,
    pool: Annotated[str | None, typer.Option(help="Any channel of this pool sends each of them.")] = None,
    failover: Annotated[
        bool | None, typer.Option("--failover", help="Another channel of the pool may, while its own cannot.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="XX", help="The country of numbers without a country code.")
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Bulk goes out when nothing else waits.")] = Priority.BULK,
    send_after: Moment = None,
    expires_at: Moment = None,
    quiet_hours: QuietHours = None,
    check_number: CheckNumber = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="An empty cell is an empty value; without this, its row is refused.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; store and send nothing.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the refused rows there, with reasons.")
    ] = None,
    run_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Rows of one run are sent once; if left out, the file's content names it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a message into the queue for each row of a table.

    A run that was cut off goes on where it stopped: give the same command again. Exit code 0: all rows are taken; 1:
    some were refused, or it could not begin; 2: the table or command line is wrong; 3: the database went away on the
    way, and 130: somebody stopped it, so the rest is still to be taken.

    Example: `truetick import contacts.csv --text-template "Hello {{name}}" --dry-run`

    Example: `truetick import contacts.csv --text-template "Hello {{name}}" --report refused.csv`

    Example: `truetick import contacts.csv --text-template "Hello {{name}}" --pool sales --quiet-hours`
    """
    from worker.cli import import_work
    from worker.importing.plan import Wanted

    fields = {
        "channel": channel,
        "pool": pool,
        "failover": failover,
        "region": region,
        "priority": priority.value,
        "send_after": send_after,
        "expires_at": expires_at,
        "quiet_hours": quiet_hours,
        "check_number": check_number,
    }
    wanted = Wanted(
        text_template=text_template,
        to_column=to_column,
        ref_column=ref_column,
        run_name=run_name,
        allow_empty=allow_empty,
        fields={name: value for name, value in fields.items() if value is not None},
    )
    try:
        refused = import_work.run(table, wanted, dry_run=dry_run, report=report, as_json=as_json)
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None
    if refused:
        raise typer.Exit(1)
