"""Writes rows of a table into another one, with what there is to say of each in columns before the row's own."""

import csv
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TextIO

from worker.domain.errors import TruetickError
from worker.table_file import InvalidTable, Row, TableFile


class TableReport:
    """To be used as a context, at whose end it is complete; without a path it writes nothing."""

    def __init__(self, table: TableFile, path: Path | None, columns: Sequence[str]) -> None:
        self._table = table
        self._path = path
        self._told = columns
        # A report may be read as a table again; what it said then is not carried on.
        self._own = [column for column in table.columns if column and column not in columns]
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Raises InvalidTable when it cannot be written."""
        if self._path is not None:
            self._file = self._open(self._path)
            self._write([*self._told, *self._own])
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        """Raises TruetickError when its last rows cannot be written, unless another error is on its way."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                if kind is None:
                    raise self._broken(error) from None

    def add(self, told: Sequence[str], row: Row) -> None:
        """Put a row into it, with what there is to say of it. Raises TruetickError where that fails (a full disk)."""
        self._write([*told, *(row.cells[column] for column in self._own), *row.surplus])

    def _write(self, cells: Sequence[str]) -> None:
        if self._file is not None:
            try:
                csv.writer(self._file, delimiter=self._table.delimiter).writerow(cells)
            except OSError as error:
                raise self._broken(error) from None

    def _broken(self, error: OSError) -> TruetickError:
        return TruetickError(
            f"The report {self._path} could not be completed: {error.strerror or error}. Make room or name another "
            "file, and give the same command again.",
            code="report_not_written",
        )

    def _open(self, path: Path) -> TextIO:
        """Only its owner may read it: it holds numbers. Spreadsheets know UTF-8 by its mark."""
        try:
            if path.exists() and path.samefile(self._table.path):
                raise InvalidTable("The report would overwrite the table itself. Give it another name.")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchmod(descriptor, 0o600)  # it may have been there before, open to others
            return os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="")
        except OSError as error:
            raise InvalidTable(f"The report {path} cannot be written: {error.strerror or error}.") from None
