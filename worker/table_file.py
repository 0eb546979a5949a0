"""Reads tables that people export from spreadsheets and CRMs: CSV in any of its usual shapes, row by row.

A file is examined as a whole before its first row is used, so nothing is done with a file that breaks in its middle.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

from worker.domain.errors import InvalidRequest

#: In bytes. Longer lines mean that the file is no table.
LONGEST_LINE = 256 * 1024
MOST_COLUMNS = 500
#: How columns with numbers are called, in the order in which they are believed.
NUMBER_COLUMNS = (
    *("to", "phone", "phone_number", "mobile", "mobile_number", "whatsapp", "whatsapp_number", "number", "telephone"),
    *("tel", "contact_number", "recipient"),
)

_DELIMITERS = (",", ";", "\t")
#: A row of these alone is an empty one, whichever of them is the delimiter.
_NOTHING = frozenset(_DELIMITERS)
_NOT_UTF8 = "cp1252"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class InvalidTable(InvalidRequest):
    """A file that cannot be read as a table, or that lacks a column."""

    default_code = "bad_table"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row with something in it. Cells stand under the names of their columns, without outer blanks."""

    #: Counted from 1 for the first row below the header; rows without any content do not count.
    number: int
    #: The line of the file on which it ends.
    line: int
    cells: Mapping[str, str]
    #: What it has beyond its columns; such a row is not to be trusted.
    surplus: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file that has been read through once and found to be a table."""

    path: Path
    #: `utf-8-sig` (with or without the mark), or `cp1252`, in which old spreadsheets write.
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    rows: int
    #: SHA-256 of its content, in hex.
    digest: str

    @classmethod
    def examine(cls, path: Path) -> Self:
        """Read it through. Raises InvalidTable, which says what is wrong and on which line."""
        if path.exists() and not path.is_file():
            raise InvalidTable(f"{path} can be read only once, such as a pipe. Save the table as a file first.")
        try:
            digest, encoding = _scan(path)
            header, delimiter = _header(path, encoding)
            columns = _columns(header)
            rows = sum(1 for _ in _rows(path, encoding, delimiter, columns))
        except OSError as error:
            raise InvalidTable(f"The file {path} cannot be read: {error.strerror or error}.") from None
        return cls(path=path, encoding=encoding, delimiter=delimiter, columns=columns, rows=rows, digest=digest)

    def __iter__(self) -> Iterator[Row]:
        return _rows(self.path, self.encoding, self.delimiter, self.columns)

    @property
    def is_guessed(self) -> bool:
        """It is not UTF-8, so letters beyond English may be wrong."""
        return self.encoding == _NOT_UTF8

    def column(self, given: str | None, likely: Sequence[str], *, what: str, option: str) -> str | None:
        """The column that was named, or the first of those that are likely to hold it; None where none is.

        Names match without regard to case, blanks and dashes. Raises InvalidTable for a named one that is not there.
        """
        known = {plain_name(column): column for column in reversed(self.columns) if column}
        if given and given in self.columns:
            return given
        if given is not None:
            if plain_name(given) not in known:
                raise InvalidTable(
                    f"There is no column {given!r} for {what} ({option}). There are: {self.named_columns}."
                )
            return known[plain_name(given)]
        return next((known[name] for name in likely if name in known), None)

    @property
    def named_columns(self) -> str:
        return ", ".join(column for column in self.columns if column)[:1000]


def plain_name(column: str) -> str:
    """A column's name as it is compared: `First Name` is `first_name`."""
    return "".join(char if char.isalnum() else "_" for char in column.strip().lower()).strip("_")


def plain_word(cell: str) -> str:
    """A word in a cell as it is compared: like a column's name, and as it stands where it has no letters (✓✓)."""
    return plain_name(cell) or cell.strip().casefold()


def _scan(path: Path) -> tuple[str, str]:
    """Its digest and its encoding."""
    digest = hashlib.sha256()
    encoding = "utf-8-sig"
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            if number == 1 and line.startswith(_UTF16_MARKS):
                raise InvalidTable(f"{path} is saved as UTF-16. Save it as CSV UTF-8.")
            if b"\x00" in line:
                raise InvalidTable(f"Line {number} of {path} holds binary data. Export the table as CSV.")
            digest.update(line)
            if encoding != _NOT_UTF8 and not _decodes(line, encoding):
                encoding = _NOT_UTF8
    if encoding == _NOT_UTF8:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                if not _decodes(line, encoding):
                    raise InvalidTable(f"Line {number} of {path} is neither UTF-8 nor Windows text.")
    return digest.hexdigest(), encoding


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _lines(file: BinaryIO) -> Iterator[bytes]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise InvalidTable(f"Line {number} of {file.name} is longer than {LONGEST_LINE // 1024} kB.")
        yield line


def _text_lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    for number, line in enumerate(_lines(file)):
        yield line.decode(encoding if number == 0 else encoding.removesuffix("-sig"))


def _header(path: Path, encoding: str) -> tuple[list[str], str]:
    """The first row with something in it, cut by whatever delimiter cuts it into most."""
    cut: dict[str, list[str]] = {}
    broken: list[InvalidTable] = []
    for delimiter in _DELIMITERS:
        try:
            cut[delimiter] = next((cells for _, cells in _records(path, encoding, delimiter, strict=False)), [])
        except InvalidTable as error:
            broken.append(error)
    if not cut:
        raise broken[0]
    delimiter = max(cut, key=lambda delimiter: len(cut[delimiter]))
    if not cut[delimiter]:
        raise InvalidTable(f"{path} is empty. Its first row has to name the columns.")
    return cut[delimiter], delimiter


def _columns(header: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(name.strip() for name in header)
    if len(columns) > MOST_COLUMNS:
        raise InvalidTable(f"There are {len(columns)} columns, and {MOST_COLUMNS} is the most.")
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InvalidTable(f"The column {twice[0]!r} is there twice. Columns need different names.")
    return columns


def _rows(path: Path, encoding: str, delimiter: str, columns: Sequence[str]) -> Iterator[Row]:
    below_header = islice(_records(path, encoding, delimiter, strict=True), 1, None)
    for number, (line, cells) in enumerate(below_header, start=1):
        named = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name}
        yield Row(
            number=number,
            line=line,
            cells={name: named.get(name, "") for name in columns if name},
            surplus=tuple(cells[len(columns) :]) if any(map(str.strip, cells[len(columns) :])) else (),
        )


def _records(path: Path, encoding: str, delimiter: str, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row with something in it, and the line on which it ends. Raises InvalidTable."""
    with path.open("rb") as file:
        reader = csv.reader(_text_lines(file, encoding), delimiter=delimiter, strict=strict)
        try:
            for cells in reader:
                if any(char not in _NOTHING and not char.isspace() for cell in cells for char in cell):
                    yield reader.line_num, cells
        except csv.Error as error:
            cause = "it has line ends of another kind" if "new-line" in str(error) else str(error)
            raise InvalidTable(
                f"{path} breaks on line {reader.line_num}: {cause}. Are its quotes in order? Else save it anew."
            ) from None
