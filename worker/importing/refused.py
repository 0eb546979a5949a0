"""What an import refuses: counted by reason, and written to a table that can be corrected and imported again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from worker.domain.errors import TruetickError
from worker.importing.plan import CODE_COLUMN
from worker.table_file import Row, TableFile
from worker.table_report import TableReport

#: What the report says of each row, before the row's own columns.
REPORT_COLUMNS = ("truetick_row", "truetick_line", CODE_COLUMN, "truetick_reason")


@dataclass(kw_only=True)
class Reason:
    """One reason for which rows were refused."""

    code: str
    #: The sentence for the first of them.
    example: str
    first_row: int
    rows: int = 0


class RefusedRows:
    """Takes refused rows; to be used as a context, at whose end the report is complete."""

    def __init__(self, table: TableFile, report: Path | None) -> None:
        self.reasons: dict[str, Reason] = {}
        self.count = 0
        self._report = TableReport(table, report, REPORT_COLUMNS)

    def __enter__(self) -> Self:
        """Raises InvalidTable when the report cannot be written."""
        self._report.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._report.__exit__(*error)

    def add(self, row: Row, error: TruetickError) -> None:
        """Count a row, and put it into the report."""
        self.count += 1
        reason = self.reasons.setdefault(
            error.code, Reason(code=error.code, example=error.message, first_row=row.number)
        )
        reason.rows += 1
        self._report.add([str(row.number), str(row.line), error.code, error.message], row)
