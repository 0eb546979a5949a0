"""What `truetick audit` does: shows what does not agree, and has it corrected. The audit itself is `worker.audit`."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.text import Text

from worker.audit.belief import Reader, Reading
from worker.audit.judging import Finding
from worker.audit.report import REPORT_COLUMNS, advice, as_json, told
from worker.audit.run import Audit, Checked
from worker.callbacks import endpoints
from worker.callbacks.corrections import tell_again
from worker.cli import display
from worker.cli.progress import progress
from worker.cli.workplace import wake_callbacks, workplace
from worker.database import snapshot, transaction
from worker.parts import Parts
from worker.table_file import TableFile
from worker.table_report import TableReport

#: So many rows that do not agree are shown; the report has all of them.
SHOWN = 20
MOST_IN_JSON = 1000
_TO_CORRECT = frozenset({Finding.FALSE_SENT, Finding.CONTRADICTED})
_WRONG_MESSAGE = frozenset({"other_recipient", "other_text"})
_COLOURS = {
    Finding.AGREES: "sent",
    Finding.FALSE_SENT: "failed",
    Finding.CONTRADICTED: "failed",
    Finding.MISSING: "failed",
    Finding.AMBIGUOUS: "pending",
    Finding.UNREADABLE: "pending",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How the audit is to be done, and what with its result."""

    window: timedelta
    is_coarse: bool
    correct: bool
    report: Path | None
    as_json: bool


def run(path: Path, reading: Reading, asked: Asked) -> bool:
    """Audit a table. Returns whether all rows agree; raises InvalidRequest for a table that cannot be used."""
    table = TableFile.examine(path)
    reader = Reader.of(table, reading)
    wrong: list[Checked] = []
    corrected = 0
    with workplace() as parts, TableReport(table, asked.report, REPORT_COLUMNS) as report:
        reader = replace(reader, region=reading.region or parts.settings.default_region)
        audit = Audit(parts.engine, table, reader, window=asked.window, is_coarse=asked.is_coarse)
        with progress(table.rows, shown=not asked.as_json) as advance:
            for chunk in audit.run(advance):
                differing = [one for one in chunk if one.judgement.finding is not Finding.AGREES]
                for one in differing:
                    report.add(told(one), one.row)
                wrong += differing[: MOST_IN_JSON - len(wrong)]
                corrected += _correct(parts, differing) if asked.correct else 0
        hears = _somebody_hears(parts)
        if corrected:
            wake_callbacks()
    said = {
        "file": str(path),
        "rows": table.rows,
        "counts": {finding.value: audit.counts[finding] for finding in Finding},
        "corrected": corrected,
        "findings": [as_json(one) for one in wrong],
        # Only so many are told here; the report has all of them.
        "findings_left_out": table.rows - audit.counts[Finding.AGREES] - len(wrong),
        "report": str(asked.report) if asked.report else None,
    }
    if asked.as_json:
        display.print_json(said)
    else:
        _tell(said, table, wrong)
        if asked.correct:
            _tell_corrected(corrected, hears=hears)
    return audit.counts[Finding.AGREES] == table.rows


def _correct(parts: Parts, differing: list[Checked]) -> int:
    """Have the true status told, of messages that the CRM is wrong about and that are surely meant."""
    seqs = {
        one.judgement.entry.seq
        for one in differing
        if one.judgement.entry and one.judgement.finding in _TO_CORRECT and one.judgement.detail not in _WRONG_MESSAGE
    }
    if not seqs:
        return 0
    with transaction(parts.engine) as connection:
        return tell_again(connection, seqs, now=parts.clock())


def _somebody_hears(parts: Parts) -> bool:
    with snapshot(parts.engine) as connection:
        return parts.settings.callback_url is not None or endpoints.any_endpoint(connection)


def _tell(said: dict[str, Any], table: TableFile, wrong: list[Checked]) -> None:
    counts = said["counts"]
    if table.is_guessed:
        display.say(f"{table.path.name} is not UTF-8; it was read as Windows-1252.", style="yellow")
    shown = wrong[:SHOWN]
    if shown:
        rows: list[list[str | Text]] = [
            [
                str(one.row.number),
                display.styled(_COLOURS[one.judgement.finding], one.judgement.finding.value.replace("_", " ")),
                one.status,
                one.judgement.entry.status if one.judgement.entry else "",
                advice(one),
            ]
            for one in shown
        ]
        display.table(
            [">row", "finding", "the crm", "truetick", "what to make of it"], rows, whole=["row", "finding"]
        )
    left = said["rows"] - counts[Finding.AGREES] - len(shown)
    if left:
        more = "1 more row does" if left == 1 else f"{left} more rows do"
        display.say(f"{more} not agree; --report FILE writes all of them.")
    agreeing, *others = (
        f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count or name == "agrees"
    )
    checked = "1 row" if said["rows"] == 1 else f"{said['rows']} rows"
    display.say(f"{checked}: {', '.join([agreeing.removesuffix('s'), *others])}.")
    if lies := counts[Finding.FALSE_SENT]:
        those = (
            "1 message that the CRM calls sent was" if lies == 1 else f"{lies} messages that the CRM calls sent were"
        )
        display.say(f"{those} never confirmed by WhatsApp.", style="red")
    if said["report"]:
        display.say(f"All rows that do not agree are in {said['report']}.")


def _tell_corrected(corrected: int, *, hears: bool) -> None:
    messages = "1 message" if corrected == 1 else f"{corrected} messages"
    display.say(f"The true status of {messages} is told to the CRM again.")
    if corrected and not hears:
        display.say(
            "There is no endpoint for callbacks; who reads the change feed gets them. See: truetick callbacks"
        )
