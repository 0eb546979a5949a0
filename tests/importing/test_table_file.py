"""Tables as spreadsheets and CRMs write them: read in whatever form they come, or refused in a sentence."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.domain.errors import TruetickError
from worker.importing.plan import Plan, Wanted
from worker.table_file import LONGEST_LINE, NUMBER_COLUMNS, InvalidTable, TableFile
from worker.table_report import TableReport

Write = Callable[[str | bytes], Path]
HELLO = Wanted(text_template="Hello {{name}}")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "contacts.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("\ufeffphone,name\n70330 00001,Zoë\n", "utf-8"),
        ("phone;name\r\n70330 00001;Zoë\r\n", "utf-8"),
        ("phone\tname\n\n70330 00001\tZoë\n", "utf-8"),
        ("phone;name\n70330 00001;Zoë\n", "cp1252"),
        ('"phone","name"\n"70330 00001","Zoë"', "utf-8"),
        (" Phone , Name \n 70330 00001 , Zoë ,,\n,\n , \n", "utf-8"),
        ("name,Telephone,to\nZoë,x,70330 00001\n", "utf-8"),
        (";;\n;\nphone,name\n;\n70330 00001,Zoë\n", "utf-8"),
        ('phone;"The\nwhole; name";Name\n70330 00001;x;Zoë\n', "utf-8"),
        ('phone,"name"\n70330 00001,Zoë\n', "utf-8"),
    ],
    ids=["mark", "semicolons", "tabs", "cp1252", "quotes", "blanks", "to-first", "nothing", "high-header", "mixed"],
)
def test_a_table_is_read_in_whatever_form_it_comes(write: Write, content: str, encoding: str) -> None:
    table = TableFile.examine(write(content.encode(encoding)))

    (row,) = table
    request = Plan.of(table, HELLO).request(row)

    assert (table.rows, row.number) == (1, 1)
    assert (request.to, request.text) == ("70330 00001", "Hello Zoë")
    assert table.is_guessed is (encoding == "cp1252")


def test_a_quoted_cell_may_have_several_lines(write: Write) -> None:
    table = TableFile.examine(write('phone,First Name\n70330 00001,"Asha\n\n; and, Ravi"\n70330 00002,Zoë\n'))
    first, second = table
    assert (first.cells["First Name"], first.line) == ("Asha\n\n; and, Ravi", 4)
    assert (second.number, second.line) == (2, 5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n\n;;\n", "empty"),
        (b"phone,name\n1,\x00\n", "binary"),
        ("phone,name\n".encode("utf-16"), "UTF-16"),
        (b"phone,name\n1,\x81\n", "neither UTF-8 nor"),
        (b"phone,name,phone\n", "twice"),
        (b'phone,name\n70330 00001,"Asha\n70330 00002,Ravi\n', "breaks on line 3"),
        (b"phone,name\n1," + b"x" * LONGEST_LINE, "longer than 256 kB"),
        (b"x" * 200_000, "breaks on line 1"),
        (b'"phone,name\n' + b"x\n" * 70_000, "breaks on line"),
        (b"phone,name\r70330 00001,Asha\r", "line ends of another kind"),
        (b"phone,name\n70330 00001,Asha\r70330 00002,Ravi\n", "line ends of another kind"),
        (b"phone,first\n70330 00001,Asha\n", "{{name}}"),
        (b"contact,name\n70330 00001,Asha\n", "Which column"),
        (b"phone,Name,name_\n70330 00001,Asha,Ravi\n", "{{name}}"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_before_its_first_row(write: Write, content: bytes, said: str) -> None:
    with pytest.raises(InvalidTable) as caught:
        Plan.of(TableFile.examine(write(content)), HELLO)
    assert said in caught.value.message


def test_a_pipe_is_refused_for_it_could_be_read_only_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidTable, match="only once"):
        TableFile.examine(tmp_path / "pipe")
    with pytest.raises(InvalidTable, match="cannot be read"):
        TableFile.examine(tmp_path / "nowhere")


def test_a_column_is_found_by_its_very_name_then_by_one_like_it_and_never_without_one(write: Write) -> None:
    table = TableFile.examine(write("Phone No.,phone-no,%,\n1,2,3,4\n"))

    def column(given: str) -> str | None:
        return table.column(given, NUMBER_COLUMNS, what="the numbers", option="--to-column")

    assert [column(name) for name in ("phone-no", "phone no", "%")] == ["phone-no", "Phone No.", "%"]
    nameless = TableFile.examine(write("phone,\n1,2\n"))
    for given in ("", "--"):
        with pytest.raises(InvalidTable, match="There is no column"):
            nameless.column(given, NUMBER_COLUMNS, what="the numbers", option="--to-column")


def test_a_report_is_for_its_owner_alone_even_where_there_was_one_before(write: Write, tmp_path: Path) -> None:
    table, path = TableFile.examine(write("phone\n1\n")), tmp_path / "report.csv"
    path.touch(mode=0o644)
    path.chmod(0o644)
    with TableReport(table, path, ["why"]) as report:
        report.add(["too short"], *table)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8-sig") == "why,phone\ntoo short,1\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_is_told_in_a_sentence_and_hides_no_other_error(write: Write) -> None:
    table = TableFile.examine(write("phone\n1\n"))

    def fill(rows: int) -> None:
        with TableReport(table, Path("/dev/full"), ["why"]) as report:
            for _ in range(rows):
                report.add(["too short"], *table)
            if not rows:
                raise KeyboardInterrupt

    for rows in (1, 10_000):
        with pytest.raises(TruetickError, match="give the same command again") as caught:
            fill(rows)
        assert caught.value.code == "report_not_written"
    with pytest.raises(KeyboardInterrupt):
        fill(0)
