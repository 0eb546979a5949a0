"""What an import makes of each row: which columns hold what, and the request that a row becomes. Stores nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from worker.domain.errors import Conflict, InvalidRequest
from worker.domain.message_request import SendRequest, parse_request
from worker.domain.template import placeholders
from worker.table_file import NUMBER_COLUMNS, InvalidTable, Row, TableFile, plain_name

LONGEST_RUN_NAME = 64
#: Where a report of refused rows says why; and what is refused again when that report is imported as it is.
CODE_COLUMN = "truetick_code"
DUPLICATE_ROW, CONFLICT = "duplicate_row", Conflict.default_code
STAYS_REFUSED = frozenset({DUPLICATE_ROW, CONFLICT})


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a person asks of an import. `fields` are the request's options that hold for every row."""

    text_template: str
    to_column: str | None = None
    ref_column: str | None = None
    run_name: str | None = None
    #: A placeholder whose cell is empty becomes nothing, rather than refusing its row.
    allow_empty: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How rows become requests."""

    wanted: Wanted
    #: Names the run: rows of one run are sent once, however often it is started.
    run: str
    to_column: str
    ref_column: str | None
    #: The placeholders with the columns that their values come from.
    sources: Mapping[str, str]

    @classmethod
    def of(cls, table: TableFile, wanted: Wanted) -> Self:
        """Raises InvalidTable or InvalidRequest for whatever would be wrong with every row."""
        to_column = table.column(wanted.to_column, NUMBER_COLUMNS, what="the numbers", option="--to-column")
        if to_column is None:
            raise InvalidTable(
                f"Which column holds the numbers? Name it with --to-column. There are: {table.named_columns}."
            )
        ref_column = table.column(wanted.ref_column, ("crm_ref",), what="the CRM's reference", option="--ref-column")
        run = wanted.run_name or table.digest[:16]
        if not run.isprintable() or len(run) > LONGEST_RUN_NAME:
            raise InvalidRequest(f"The run's name must have at most {LONGEST_RUN_NAME} printable characters.")
        sources = _sources(table, wanted.text_template)
        # What holds for every row is checked once, on a row that could not be better.
        sample = {"text": wanted.text_template, "values": dict.fromkeys(sources, "x")}
        parse_request({"to": "+917033009600", **sample, **wanted.fields})
        return cls(wanted=wanted, run=run, to_column=to_column, ref_column=ref_column, sources=sources)

    def request(self, row: Row) -> SendRequest:
        """The request that a row becomes. Raises InvalidRequest with a code and a sentence for the report."""
        if row.cells.get(CODE_COLUMN) in STAYS_REFUSED:
            raise InvalidRequest(
                f"It was refused for this before. To send it all the same, empty its cell in {CODE_COLUMN}.",
                code=row.cells[CODE_COLUMN],
            )
        if row.surplus:
            raise InvalidRequest(
                "The row has more cells than there are columns. Put cells that hold a separator in quotes.",
                code="too_many_cells",
            )
        empty = [column for column in self.sources.values() if not row.cells[column]]
        if empty and not self.wanted.allow_empty:
            named = ", ".join(dict.fromkeys(empty))
            raise InvalidRequest(
                f"The text needs a value from each of these empty cells: {named}.", code="missing_value"
            )
        return parse_request(
            {
                **self.wanted.fields,
                "to": row.cells[self.to_column],
                "text": self.wanted.text_template,
                "values": {name: row.cells[column] for name, column in self.sources.items()},
                "idempotency_key": f"import:{self.run}:{row.number}",
                "crm_ref": (row.cells[self.ref_column] or None) if self.ref_column else None,
            }
        )


def _sources(table: TableFile, template: str) -> dict[str, str]:
    """The column of each placeholder: the one of that name, or the only one that is called alike."""
    sources, missing = {}, []
    for name in placeholders(template):
        alike = [column for column in table.columns if plain_name(column) == plain_name(name)]
        if name in table.columns:
            sources[name] = name
        elif len(alike) == 1:
            sources[name] = alike[0]
        else:
            missing.append(f"{{{{{name}}}}}")
    if missing:
        raise InvalidTable(
            f"The text has placeholders that are no columns: {', '.join(missing)}. There are: {table.named_columns}.",
            code="missing_column",
        )
    return sources
