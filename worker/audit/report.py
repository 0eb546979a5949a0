"""What an audit says of a row that does not agree: in a report, in JSON, and in words."""

from typing import Any

from worker.audit.judging import Finding
from worker.audit.run import Checked

REPORT_COLUMNS = (
    *("truetick_row", "truetick_line", "truetick_finding", "truetick_detail", "truetick_status"),
    *("truetick_message_id", "truetick_advice"),
)
ADVICE = {
    Finding.FALSE_SENT: "WhatsApp has never confirmed it: take the CRM's status back, and ask `truetick why`.",
    Finding.CONTRADICTED: "Take the status that the ledger has.",
    Finding.MISSING: "Truetick never had it, so nothing proves that it was sent.",
    Finding.AMBIGUOUS: "Name its id in the table, or narrow the time down with --window.",
    Finding.UNREADABLE: "Correct the row.",
}
DETAILS = {
    "told_twice": "The CRM has it more often than it was ever enqueued.",
    "other_recipient": "The message with this id went to another recipient.",
    "other_text": "The message with this id has another text.",
    "too_many": "Too many messages fit.",
}


def advice(checked: Checked) -> str:
    """What to make of a row, in one or two sentences."""
    judgement = checked.judgement
    return checked.problem or DETAILS.get(judgement.detail) or ADVICE.get(judgement.finding, "")


def as_json(checked: Checked) -> dict[str, Any]:
    """One row, without its number and text."""
    entry = checked.judgement.entry
    return {
        "row": checked.row.number,
        "line": checked.row.line,
        "finding": checked.judgement.finding.value,
        "detail": checked.judgement.detail,
        "crm_status": checked.status or None,
        "status": entry.status if entry else None,
        "state": entry.state.value if entry else None,
        "message_id": str(entry.id) if entry else None,
        "crm_ref": entry.crm_ref if entry else None,
        "advice": advice(checked),
    }


def told(checked: Checked) -> list[str]:
    """What the report says of a row, by `REPORT_COLUMNS`."""
    entry = checked.judgement.entry
    return [
        str(checked.row.number),
        str(checked.row.line),
        checked.judgement.finding.value,
        checked.judgement.detail,
        entry.status if entry else "",
        str(entry.id) if entry else "",
        advice(checked),
    ]
