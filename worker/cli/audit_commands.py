"""`truetick audit`: what can be asked for. What it does stands in `worker.cli.audit_work`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from worker.cli.options import AsJson
from worker.domain.durations import parse_duration
from worker.domain.errors import InvalidRequest
from worker.domain.message_status import PUBLIC_STATUS
from worker.table_file import plain_word

STATUSES = tuple(dict.fromkeys(PUBLIC_STATUS.values()))


def _duration(written: str) -> timedelta:
    try:
        return parse_duration(written)
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None


def _zone(written: str) -> ZoneInfo:
    try:
        return ZoneInfo(written)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(f"{written[:40]!r} is no time zone; write it like Asia/Kolkata or UTC.") from None


def _word(written: str) -> tuple[str, str]:
    word, equals, status = written.rpartition("=")
    if not equals or not word.strip() or status not in STATUSES:
        raise typer.BadParameter(f"write WORD=STATUS, such as done=sent; STATUS is one of {', '.join(STATUSES)}.")
    return plain_word(word), status


Column = Annotated[str | None, typer.Option(metavar="COLUMN", help="Found by its name if left out.")]


def register(app: typer.Typer) -> None:
    app.command()(audit)


def audit(
    table: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The CRM's export, as CSV."),
    ],
    id_column: Column = None,
    ref_column: Column = None,
    to_column: Column = None,
    text_column: Column = None,
    time_column: Column = None,
    status_column: Column = None,
    status_word: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=STATUS", help="What a word of the CRM's means; may be given several times."),
    ] = None,
    coarse: Annotated[
        bool, typer.Option("--coarse", help="The CRM knows no delivered and read: its sent means any of them.")
    ] = False,
    window: Annotated[
        timedelta,
        typer.Option(
            parser=_duration, metavar="TIME", help="How far off the CRM's times may be, where there is no id."
        ),
    ] = "24h",  # type: ignore[assignment]  # parsed like what is typed
    time_zone: Annotated[
        ZoneInfo, typer.Option(parser=_zone, metavar="ZONE", help="The zone of times that name none.")
    ] = "UTC",  # type: ignore[assignment]
    time_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help='How times are written, such as "%d/%m/%Y %H:%M".')
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="XX", help="The country of numbers without a country code.")
    ] = None,
    correct: Annotated[
        bool, typer.Option("--correct", help="Tell the CRM the true status of each message it is wrong about.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the rows that do not agree there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what the CRM believes of its messages with what Truetick can prove.

    Messages are found by their id, by the CRM's reference, or by number, text and time. Exit code 0: all agree; 1:
    some do not; 2: the table or the command line is wrong.

    Example: `truetick audit crm.csv`

    Example: `truetick audit crm.csv --status-word done=sent --time-zone Asia/Kolkata --report wrong.csv --correct`
    """
    from worker.audit.belief import Reading
    from worker.cli import audit_work

    columns = {
        "id": id_column,
        "ref": ref_column,
        "to": to_column,
        "text": text_column,
        "time": time_column,
        "status": status_column,
    }
    reading = Reading(
        columns=columns,
        words=dict(_word(written) for written in status_word or ()),
        region=region,
        zone=time_zone,
        time_format=time_format,
    )
    asked = audit_work.Asked(window=window, is_coarse=coarse, correct=correct, report=report, as_json=as_json)
    try:
        all_agree = audit_work.run(table, reading, asked)
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None
    if not all_agree:
        raise typer.Exit(1)
