"""What a CRM believes: one row of its export, in Truetick's words."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Self
from uuid import UUID

from phonenumbers import SUPPORTED_REGIONS

from worker.audit.words import LIKELY, STATUS_OF_WORD, WHAT
from worker.domain.errors import InvalidNumber, InvalidRequest
from worker.domain.phone import normalise_recipient
from worker.domain.text_digest import text_digest
from worker.table_file import InvalidTable, Row, TableFile, plain_word

#: No message is of another year; systems write such times where they know none.
_YEARS = range(2000, 2200)
#: A status that is longer is a text from another column.
LONGEST_WORD = 40


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
        """Raises InvalidTable for a table that does not say which message, or what the CRM believes of it, and
        InvalidRequest for a region or format of times that there is not.
        """
        _check(reading)
        columns = {
            name: table.column(reading.columns.get(name), likely, what=WHAT[name], option=f"--{name}-column")
            for name, likely in LIKELY.items()
        }
        if columns["status"] is None:
            raise InvalidTable(
                f"Which column holds the status? Name it with --status-column. There are: {table.named_columns}."
            )
        reader = cls(reading=reading, columns=columns, words={**STATUS_OF_WORD, **reading.words})
        if not (reader.names or columns["to"]):
            raise InvalidTable(
                "Which column tells the message? Name its id with --id-column, the CRM's reference with --ref-column "
                f"or the number with --to-column. There are: {table.named_columns}."
            )
        return reader

    @property
    def names(self) -> bool:
        """Does the table name messages, by an id or a reference?"""
        return bool(self.columns["id"] or self.columns["ref"])

    def read(self, row: Row) -> Belief:
        """Raises Unreadable, with a sentence that repeats neither number nor text."""
        said = self._cell(row, "status")
        status = self.words.get(plain_word(said))
        if status is None:
            raise _unknown(said)
        message_id, crm_ref = self._id(row)
        is_named = message_id is not None or crm_ref is not None
        recipient = self._recipient(row, is_needed=not is_named)
        text = self._cell(row, "text").replace("\r\n", "\n")
        return Belief(
            row=row,
            status=status,
            message_id=message_id,
            crm_ref=crm_ref,
            recipient=recipient,
            text_digest=text_digest(text) if text else None,
            at=self._time(self._cell(row, "time"), is_needed=not is_named),
        )

    def _cell(self, row: Row, what: str) -> str:
        column = self.columns[what]
        return row.cells[column] if column else ""

    def _id(self, row: Row) -> tuple[UUID | None, str | None]:
        """An id that is none of ours is the CRM's own, and may stand as our `crm_ref`, whatever it looks like."""
        given = self._cell(row, "id")
        ref = self._cell(row, "ref") or given or None
        try:
            return UUID(given), ref
        except ValueError:
            return None, ref

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

    def _time(self, given: str, *, is_needed: bool) -> datetime | None:
        """A message that is found by its name needs no time: one that is not understood is as good as none."""
        if not given:
            return None
        try:
            moment = self._moment(given)
            at = (moment if moment.tzinfo else moment.replace(tzinfo=self.reading.zone)).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            at = None
        if at is not None and at.year in _YEARS:
            return at
        if is_needed:
            raise Unreadable(
                'The time is not understood. Say how it is written, as in --time-format "%d/%m/%Y %H:%M".',
                code="bad_time",
            )
        return None

    def _moment(self, given: str) -> datetime:
        if self.reading.time_format:
            return datetime.strptime(given, self.reading.time_format)  # noqa: DTZ007 - its zone is put in afterwards
        if given.isdecimal() and len(given) in (10, 13):
            return datetime.fromtimestamp(int(given[:10]), UTC)
        return datetime.fromisoformat(given)


def _unknown(said: str) -> Unreadable:
    if not said:
        return Unreadable("The row has no status. Fill it in, or leave the row out.", code="no_status")
    if len(said) > LONGEST_WORD:
        return Unreadable(
            f"The status {said[:LONGEST_WORD]!r} and so on is too long for one. Is it the right column? "
            "Name it with --status-column.",
            code="unknown_status",
        )
    return Unreadable(
        f"The status {said!r} is not known. Say what it means: --status-word {shlex.quote(f'{said}=sent')}",
        code="unknown_status",
    )


def _check(reading: Reading) -> None:
    if reading.region is not None and reading.region.upper() not in SUPPORTED_REGIONS:
        raise InvalidRequest(
            f"The region {reading.region[:40]!r} is not a country that has phone numbers. Write two letters, such as "
            "IN, AE or GB.",
            code="bad_region",
        )
    try:
        if reading.time_format is not None:
            written = datetime(2026, 11, 22, 18, 5, tzinfo=UTC).strftime(reading.time_format)
            datetime.strptime(written, reading.time_format)  # noqa: DTZ007 - only tried
    except ValueError:
        raise InvalidRequest(
            f'The time format {reading.time_format!r} is not understood. Write it as in "%d/%m/%Y %H:%M".',
            code="bad_time_format",
        ) from None
