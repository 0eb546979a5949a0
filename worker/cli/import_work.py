"""What `truetick import` does: shows progress, and what has become of the rows. The import is `worker.importing`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from worker.channels import choice, registry
from worker.cli import display
from worker.cli.progress import progress
from worker.cli.workplace import wake_drain, workplace
from worker.database import DatabaseAway, snapshot
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.importing.plan import Plan, Wanted
from worker.importing.refused import RefusedRows
from worker.importing.run import Import
from worker.parts import Parts
from worker.readiness import DatabaseNotReady, trouble_of
from worker.table_file import TableFile

#: What a shell calls a command that was interrupted.
INTERRUPTED = 130
#: The exit code where the database went away on the way.
DATABASE_WENT_AWAY = 3


def run(path: Path, wanted: Wanted, *, dry_run: bool, report: Path | None, as_json: bool) -> bool:
    """Import a table. Returns whether rows were refused; raises InvalidRequest for a table that cannot be used."""
    table = TableFile.examine(path)
    plan = Plan.of(table, wanted)
    with workplace() as parts:
        _require_channel(parts, wanted)  # before a report of an earlier run is written over
        with RefusedRows(table, report) as refused:
            work = Import(parts, table, plan, refused, dry_run=dry_run)
            cut_off = _run(work, parts, table, shown=not as_json)
    said = _json(work, table, plan, refused, dry_run=dry_run, report=report) | {"complete": cut_off is None}
    if as_json:
        if cut_off and cut_off.error:
            said["error"] = {"code": cut_off.error.code, "message": cut_off.error.message}
        display.print_json(said)
    else:
        _tell(said, table, refused, dry_run=dry_run, report=report)
    if cut_off:
        because = cut_off.error.message if cut_off.error else "It was stopped."
        typer.echo(f"{because} The same command goes on where it stopped; nothing is sent twice.", err=True)
        raise typer.Exit(DATABASE_WENT_AWAY if cut_off.error else INTERRUPTED)
    return refused.count > 0


@dataclass(frozen=True)
class _CutOff:
    """Not all rows were gone through: the database went away, or a person stopped it."""

    error: DatabaseNotReady | None


def _run(work: Import, parts: Parts, table: TableFile, *, shown: bool) -> _CutOff | None:
    with progress(table.rows, shown=shown) as advance:
        try:
            work.run(advance=advance, wake=wake_drain)
        except KeyboardInterrupt:
            return _CutOff(None)
        except DatabaseAway as error:
            return _CutOff(trouble_of(parts.engine, error))
    return None


def _require_channel(parts: Parts, wanted: Wanted) -> None:
    """Raises NotFound, once rather than for each row."""
    name, pool = wanted.fields.get("channel", DEFAULT_CHANNEL), wanted.fields.get("pool")
    with snapshot(parts.engine) as connection:
        if pool is not None:
            choice.require_pool(connection, pool)
        elif name != DEFAULT_CHANNEL:
            registry.channel_id(connection, name)


def _json(
    work: Import, table: TableFile, plan: Plan, refused: RefusedRows, *, dry_run: bool, report: Path | None
) -> dict[str, Any]:
    return {
        "file": str(table.path),
        "run": plan.run,
        "dry_run": dry_run,
        "rows": table.rows,
        "taken": work.result.taken,
        "taken_before": work.result.taken_before,
        "refused": refused.count,
        "refused_by_code": {reason.code: reason.rows for reason in refused.reasons.values()},
        "examples": [{"row": one.row, "to": one.to, "text": one.text} for one in work.result.examples],
        "report": str(report) if report else None,
        "encoding": table.encoding.removesuffix("-sig"),
    }


def _tell(
    said: dict[str, Any], table: TableFile, refused: RefusedRows, *, dry_run: bool, report: Path | None
) -> None:
    if table.is_guessed:
        display.say(
            f"{table.path.name} is not UTF-8; it was read as Windows-1252. If letters look wrong, save it as UTF-8.",
            style="yellow",
        )
    done = "would be taken" if dry_run else "taken"
    rows = "1 row" if said["rows"] == 1 else f"{said['rows']} rows"
    display.say(f"{rows}: {said['taken']} {done}, {said['taken_before']} were taken before, {refused.count} refused.")
    for example in said["examples"] if dry_run else ():
        display.say(f"Row {example['row']} to {example['to']}: {' '.join(example['text'].split())}")
    if refused.count:
        _tell_refused(refused, report)
    if dry_run:
        display.say("This was a dry run: nothing was stored. Without --dry-run it is sent.")
    else:
        display.say(f"The run is called {said['run']}. Follow its messages with: truetick messages")


def _tell_refused(refused: RefusedRows, report: Path | None) -> None:
    reasons = sorted(refused.reasons.values(), key=lambda reason: -reason.rows)
    rows = [[str(reason.rows), reason.code, str(reason.first_row), reason.example] for reason in reasons]
    display.table([">rows", "refused as", ">first", "reason"], rows, whole=["refused as"])
    if report is not None:
        display.say(f"The refused rows are in {report}. Correct them there, and import that file.")
    else:
        display.say("To have the refused rows in a file of their own, add: --report refused.csv")
