"""What a CRM believes: one row of its export, in Truetick's words. Knows the usual names of columns and statuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Self
from uuid import UUID

from worker.domain.errors import InvalidNumber, InvalidRequest
from worker.domain.message_status import PUBLIC_STATUS
from worker.domain.phone import normalise_recipient
from worker.domain.text_digest import text_digest
from worker.table_file import NUMBER_COLUMNS, InvalidTable, Row, TableFile, plain_name

#: How columns are called, in the order in which they are believed.
LIKELY = {
    "id": ("message_id", "truetick_id", "truetick_message_id", "id", "uuid"),
    "ref": ("crm_ref", "ref", "reference", "external_id"),
    "to": NUMBER_COLUMNS,
    "text": ("text", "message", "body", "content", "message_text"),
    "time": ("time", "sent_at", "sent", "created_at", "timestamp", "date", "datetime", "date_time", "sent_time"),
    "status": ("status", "state", "delivery_status", "message_status"),
}
#: Other systems' words for what we call by the name on the left.
_WORDS = {
    "pending": (
        "queued",
        "new",
        "created",
        "scheduled",
        "waiting",
        "processing",
        "in_progress",
        "accepted",
        "sending",
    ),
    "sent": ("ok", "success", "successful", "done", "submitted", "completed"),
    "delivered": ("received",),
    "read": ("seen", "opened", "played", "viewed"),
    "failed": ("error", "undelivered", "rejected", "bounced", "failure", "not_sent"),
    "expired": ("timeout", "timed_out"),
    "cancelled": ("canceled", "aborted", "withdrawn"),
}
STATUSES = tuple(dict.fromkeys(PUBLIC_STATUS.values()))
STATUS_OF_WORD = {word: status for status, words in _WORDS.items() for word in (status, *words)}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a person says the table is to be read; None: found out by the columns' names."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    #: The CRM's own words for statuses, beside those that are known.
    words: Mapping[str, str] = field(default_factory=dict)
    #: None: the default one.
    region: str | None = None
    #: Of times that name none.
    zone: tzinfo = UTC
    #: As `strptime` takes it; None: ISO 8601 or seconds since 1970.
    time_format: str | None = None


@dataclass(frozen=True, kw_only=True)
class Belief:
    """What the CRM believes of one message. Texts are kept as digests only."""

    row: Row
    status: str
    message_id: UUID | None
    crm_ref: str | None
    recipient: str | None
    text_digest: str | None
    at: datetime | None


class Unreadable(InvalidRequest):
    """A row that says nothing that could be checked. `code` tells why."""

    default_code = "unreadable"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads the rows of one table."""

    reading: Reading
    columns: Mapping[str, str | None]
    words: Mapping[str, str]
    #: Of numbers without a country code.
    region: str = "IN"

    @classmethod
    def of(cls, table: TableFile, reading: Reading) -> Self:
        """Raises InvalidTable for a table that does not say which message, or what the CRM believes of it."""
        columns = {
            name: table.column(reading.columns.get(name), likely, what=_WHAT[name], option=f"--{name}-column")
            for name, likely in LIKELY.items()
        }
        if columns["status"] is None:
            raise InvalidTable(
                f"Which column holds the status? Name it with --status-column. There are: {table.named_columns}."
            )
        if not (columns["id"] or columns["ref"] or columns["to"]):
            raise InvalidTable(
                "Which column tells the message? Name its id with --id-column, the CRM's reference with --ref-column "
                f"or the number with --to-column. There are: {table.named_columns}."
            )
        return cls(reading=reading, columns=columns, words={**STATUS_OF_WORD, **reading.words})

    def read(self, row: Row) -> Belief:
        """Raises Unreadable, with a sentence that repeats neither number nor text."""
        said = self._cell(row, "status")
        status = self.words.get(plain_name(said))
        if status is None:
            raise Unreadable(
                f"The status {said[:40]!r} is not known. Say what it means: --status-word {said[:40]}=sent",
                code="unknown_status",
            )
        message_id, crm_ref = self._id(row)
        recipient = self._recipient(row, is_needed=message_id is None and crm_ref is None)
        text = self._cell(row, "text").replace("\r\n", "\n")
        return Belief(
            row=row,
            status=status,
            message_id=message_id,
            crm_ref=crm_ref,
            recipient=recipient,
            text_digest=text_digest(text) if text else None,
            at=self._time(self._cell(row, "time")),
        )

    def _cell(self, row: Row, what: str) -> str:
        column = self.columns[what]
        return row.cells[column] if column else ""

    def _id(self, row: Row) -> tuple[UUID | None, str | None]:
        """An id that is none of ours is the CRM's own, and may stand as our `crm_ref`."""
        given = self._cell(row, "id")
        ref = self._cell(row, "ref") or None
        try:
            return UUID(given), ref
        except ValueError:
            return None, ref or given or None

    def _recipient(self, row: Row, *, is_needed: bool) -> str | None:
        given = self._cell(row, "to")
        if not given and not is_needed:
            return None
        try:
            return normalise_recipient(given, self.region).address
        except InvalidNumber as error:
            if is_needed:
                raise Unreadable(error.message, code=error.code) from None
            return None

    def _time(self, given: str) -> datetime | None:
        if not given:
            return None
        try:
            moment = self._moment(given)
            return (moment if moment.tzinfo else moment.replace(tzinfo=self.reading.zone)).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            raise Unreadable(
                'The time is not understood. Say how it is written, as in --time-format "%d/%m/%Y %H:%M".',
                code="bad_time",
            ) from None

    def _moment(self, given: str) -> datetime:
        if self.reading.time_format:
            return datetime.strptime(given, self.reading.time_format)  # noqa: DTZ007 - its zone is put in afterwards
        if given.isdecimal() and len(given) in (10, 13):
            return datetime.fromtimestamp(int(given[:10]), UTC)
        return datetime.fromisoformat(given)


_WHAT = {
    "id": "the message's id",
    "ref": "the CRM's reference",
    "to": "the numbers",
    "text": "the texts",
    "time": "the times",
    "status": "the status",
}
