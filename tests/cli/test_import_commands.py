"""`truetick import` in an operator's hands: each row once, whatever the file looks like and however often it runs."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
from sqlalchemy import Engine, event, func, select, update
from sqlalchemy.exc import OperationalError

from tests.cli.conftest import NO_BROKER, Said
from tests.conftest import SECRET_KEY
from tests.live_stack import ROOT
from tests.real_servers import wait_until
from worker import intake
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.cli import import_work
from worker.cli.progress import progress
from worker.database import open_engine, snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.message_request import parse_request
from worker.domain.pace import Pace
from worker.importing import run as importing
from worker.importing.plan import Plan, Wanted
from worker.importing.refused import RefusedRows
from worker.importing.run import Import
from worker.models import Channel, Message
from worker.outbox.events import Source
from worker.parts import Parts
from worker.table_file import TableFile

Truetick = Callable[..., Said]
HELLO = ("--text-template", "Hello {{name}}")
NOW = datetime.now(UTC)
CONTACTS = "phone,name\n70330 00001,Asha\n70330 00002,Ravi\n+44 7400 123456,Zoë\n"


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(content: str | bytes = CONTACTS, name: str = "contacts.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def stored(engine: Engine) -> list[tuple[str | None, str]]:
    columns = select(Message.recipient, Message.content).order_by(Message.seq)
    with snapshot(engine) as connection:
        return [(row.recipient, row.content["text"]) for row in connection.execute(columns)]


def how_many(engine: Engine) -> int:
    with snapshot(engine) as connection:
        return connection.execute(select(func.count()).select_from(Message)).scalar_one()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as report:
        return list(csv.DictReader(report))


def test_each_row_becomes_a_message(on: Truetick, file: Callable[..., str], engine: Engine) -> None:
    said = on("import", file(), *HELLO)
    assert (said.code, said.err) == (0, "")
    assert "3 rows: 3 taken, 0 were taken before, 0 refused." in said.out
    assert stored(engine) == [
        ("+917033000001", "Hello Asha"),
        ("+917033000002", "Hello Ravi"),
        ("+447400123456", "Hello Zoë"),
    ]


def test_options_hold_for_every_row(on: Truetick, file: Callable[..., str], engine: Engine) -> None:
    on("channels", "add", "sales", "--api-key", "k")
    options = ("--channel", "sales", "--region", "GB", "--priority", "transactional", "--ref-column", "Lead No")
    content = "Lead No;Mobile;name\nL-1;07400 123456;Zoë\n"
    said = on("import", file(content), *HELLO, *options, "--send-after", "2035-01-01T00:00:00Z", "--json")
    assert said.code == 0
    [message] = on("messages", "--json").json["messages"]
    assert (message["recipient"], message["channel"], message["crm_ref"]) == ("+447400123456", "sales", "L-1")
    assert (message["priority"], message["send_after"][:4]) == ("transactional", "2035")


def test_a_table_of_an_old_spreadsheet_is_read_and_that_is_told(
    on: Truetick, file: Callable[..., str], engine: Engine
) -> None:
    said = on("import", file("phone;name\n70330 00001;Zoë\n".encode("cp1252")), *HELLO)
    assert said.code == 0, said
    assert stored(engine) == [("+917033000001", "Hello Zoë")]
    assert "Windows-1252" in said.out


def test_a_table_that_cannot_be_used_is_refused_before_anything_is_stored(
    on: Truetick, file: Callable[..., str], engine: Engine
) -> None:
    answer = on("import", file('phone,name\n70330 00001,"Asha\n70330 00002,Ravi\n'), *HELLO, columns=300)
    assert (answer.code, stored(engine)) == (2, [])
    assert "breaks on line 3" in answer.err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--to-column", "nowhere"),
        ("--ref-column", "nowhere"),
        ("--send-after", "tomorrow"),
        ("--text-template", "Hello {{na me}}"),
        ("--text-template", "Hello {{"),
        ("--text-template", " "),
        ("--run-name", "x" * 65),
        ("--region", "India"),
        ("--report", "{table}"),
        ("--report", "/nowhere/refused.csv"),
        ("--pool", "Not a pool"),
    ],
    ids=str,
)
def test_a_command_line_that_cannot_work_is_refused_before_anything_is_stored(
    on: Truetick, file: Callable[..., str], engine: Engine, wrong: tuple[str, str]
) -> None:
    table = file()
    answer = on("import", table, *HELLO, wrong[0], wrong[1].replace("{table}", table))
    assert (answer.code, stored(engine)) == (2, [])
    assert Path(table).read_text() == CONTACTS


@pytest.mark.parametrize(("option", "said"), [("--channel", "no channel named"), ("--pool", "no channel in a pool")])
def test_a_channel_or_pool_that_does_not_exist_is_told_once(
    on: Truetick, file: Callable[..., str], engine: Engine, option: str, said: str
) -> None:
    answer = on("import", file(), *HELLO, option, "nowhere")
    assert (answer.code, stored(engine)) == (1, [])
    assert answer.err.count(f"{said} named 'nowhere'" if option == "--pool" else f"{said} 'nowhere'") == 1


def test_a_pool_shares_the_rows_out_and_each_channel_is_woken(
    sqlite_url: str, build: Callable[..., Parts], tmp_path: Path
) -> None:
    parts = build(sqlite_url)
    (tmp_path / "many.csv").write_text(many(20))
    table = TableFile.examine(tmp_path / "many.csv")
    with transaction(parts.engine) as connection:
        for name in ("north", "south"):
            registry.add(connection, NewChannel(name=name, pace=Pace(1, 5), pool="main"), parts.clock())
        connection.execute(update(Channel).values(state=ChannelState.UP))
        # The last row's recipient knows the channel that has a run already; the other one has to be woken as well.
        known = parse_request({"to": "+917033000019", "text": "Hi", "channel": "south"})
        intake.send_request(parts, connection, known, now=NOW, message_id=uuid4(), source=Source.API)
        busy = update(Channel).where(Channel.name == "south")
        connection.execute(busy.values(lease_expires_at=parts.clock() + timedelta(hours=1)))
    fields = {"pool": "main", "failover": True, "quiet_hours": True, "check_number": True}
    plan = Plan.of(table, Wanted(text_template="Hello {{name}}", fields=fields))
    woken: list[int] = []
    with RefusedRows(table, None) as refused:
        Import(parts, table, plan, refused, dry_run=False).run(
            advance=lambda _: None, wake=lambda: woken.append(how_many(parts.engine))
        )
    with snapshot(parts.engine) as connection:
        rows = connection.execute(select(Message.channel_id, Message.failover, Message.check_number)).all()
    assert set(rows[1:]) == {(1, True, True), (2, True, True)}
    assert woken == [21, 21], "at the first rows, and at the end"


BAD = (
    "phone,name\n70330 00001,Asha\n12,Ravi\n70330 00003,\n,Zoë\n70330 00005,a,b\n"
    "+91 70330-00001,Asha\n70330 00006," + "x" * 1001 + "\n70330 00007,Last\n"
)


def test_refused_rows_are_counted_by_reason_and_kept_in_a_report(
    on: Truetick, file: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    report = tmp_path / "refused.csv"
    said = on("import", file(BAD), *HELLO, "--report", str(report), columns=200)
    assert said.code == 1
    assert "8 rows: 2 taken, 0 were taken before, 6 refused." in said.out
    assert [text for _, text in stored(engine)] == ["Hello Asha", "Hello Last"]
    rows = rows_of(report)
    assert [(row["truetick_row"], row["truetick_code"]) for row in rows] == [
        ("2", "too_short"),
        ("3", "missing_value"),
        ("4", "empty"),
        ("5", "too_many_cells"),
        ("6", "duplicate_row"),
        ("7", "invalid_request"),
    ]
    assert all(row["truetick_reason"].endswith(".") for row in rows)
    assert (rows[0]["phone"], rows[0]["name"], rows[0]["truetick_line"]) == ("12", "Ravi", "3")
    assert report.stat().st_mode & 0o077 == 0
    for code in ("too_short", "missing_value", "duplicate_row"):
        assert code in said.out


def test_a_corrected_report_is_imported_as_it_is(
    on: Truetick, file: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    report, again = tmp_path / "refused.csv", tmp_path / "again.csv"
    on("import", file(BAD), *HELLO, "--report", str(report))
    report.write_text(report.read_text().replace(",12,Ravi", ",70330 00002,Ravi"))
    said = on("import", str(report), *HELLO, "--report", str(again), "--json").json
    assert (said["taken"], said["refused_by_code"]["duplicate_row"]) == (1, 1)
    assert stored(engine)[-1] == ("+917033000002", "Hello Ravi")
    assert list(rows_of(again)[0]) == [
        *("truetick_row", "truetick_line", "truetick_code", "truetick_reason", "phone", "name"),
    ]


def test_empty_cells_may_be_allowed(on: Truetick, file: Callable[..., str], engine: Engine) -> None:
    on("import", file("phone,name\n70330 00001,\n"), "--text-template", "Hello{{name}}", "--allow-empty")
    assert stored(engine) == [("+917033000001", "Hello")]


def test_a_dry_run_says_the_same_and_stores_nothing(
    on: Truetick, file: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    dry = on("import", file(BAD), *HELLO, "--dry-run", "--report", str(tmp_path / "refused.csv"))
    assert dry.code == 1
    assert stored(engine) == []
    assert "2 would be taken" in dry.out
    assert "Row 1 to 70330 00001: Hello Asha" in dry.out
    assert len(rows_of(tmp_path / "refused.csv")) == 6
    tried = on("import", file(BAD), *HELLO, "--dry-run", "--json").json
    done = on("import", file(BAD), *HELLO, "--json").json
    assert tried | {"dry_run": False} == done
    assert done["refused_by_code"]["too_short"] == 1
    assert on("import", file(BAD), *HELLO, "--dry-run", "--json").json["taken_before"] == 2


def test_the_same_import_again_sends_nothing_twice(on: Truetick, file: Callable[..., str], engine: Engine) -> None:
    on("import", file(), *HELLO)
    again = on("import", file(name="copy.csv"), *HELLO, "--json")
    assert (again.code, again.json["taken"], again.json["taken_before"]) == (0, 0, 3)
    other = on("import", file(), "--text-template", "Bye {{name}}", "--json")
    assert (other.code, other.json["refused_by_code"]) == (1, {"conflict": 3})
    assert len(stored(engine)) == 3
    named = on("import", file(), "--text-template", "Bye {{name}}", "--run-name", "farewell", "--json")
    assert (named.code, named.json["taken"], len(stored(engine))) == (0, 3, 6)


def test_a_corrected_table_goes_on_with_the_run_that_is_named(
    on: Truetick, file: Callable[..., str], engine: Engine
) -> None:
    run = on("import", file("phone,name\n70330 00001,Asha\n12,Ravi\n"), *HELLO, "--json").json["run"]
    said = on("import", file("phone,name\n70330 00001,Asha\n70330 00002,Ravi\n"), *HELLO, "--run-name", run, "--json")
    assert (said.json["taken"], said.json["taken_before"], len(stored(engine))) == (1, 1, 2)


MANY, SOME = 10_000, 4000


def many(count: int = MANY) -> str:
    return "phone,name\n" + "".join(f"+9170330{index:05d},Person {index}\n" for index in range(count))


@pytest.mark.timed
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_ten_thousand_rows_take_seconds(
    kind: str, request: pytest.FixtureRequest, truetick: Truetick, file: Callable[..., str]
) -> None:
    url = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
    began = time.monotonic()
    said = truetick("import", file(many()), *HELLO, "--json", DATABASE_URL=url)
    took_s = time.monotonic() - began
    assert (said.code, said.json["taken"]) == (0, MANY)
    assert took_s < 20


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_import_that_is_cut_off_goes_on_without_sending_anything_twice(
    on: Truetick, file: Callable[..., str], engine: Engine, sqlite_url: str, tmp_path: Path, how: signal.Signals
) -> None:
    table, report = file(many(SOME) + "12,Wrong\n"), tmp_path / "refused.csv"
    command = ["import", table, *HELLO, "--report", str(report)]
    environment: dict[str, Any] = {
        **{"PATH": os.environ["PATH"], "DATABASE_URL": sqlite_url, "CELERY_BROKER_URL": NO_BROKER},
        **{"TRUETICK_VAR_DIR": str(tmp_path / "var"), "TRUETICK_SECRET_KEY": SECRET_KEY},
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli.app", *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has this signal ignored, and so would the process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_until(lambda: how_many(engine) > 0, within_s=30, what="the first rows")
        process.send_signal(how)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    there = len(stored(engine))
    assert 0 < there < SOME, "it was not cut off in its middle"
    assert there % 500 == 0
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert f"{there} taken" in out
        assert "goes on where it stopped" in err
    said = on(*command, "--json")
    assert (said.code, said.json["taken"], said.json["taken_before"]) == (1, SOME - there, there)
    assert len({recipient for recipient, _ in stored(engine)}) == len(stored(engine)) == SOME
    assert len(rows_of(report)) == 1


def test_a_database_that_goes_away_on_the_way_is_told_with_what_is_done_and_how_to_go_on(
    on: Truetick,
    file: Callable[..., str],
    sqlite_url: str,
    build: Callable[..., Parts],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chunks: list[int] = []

    def go_away(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO messages"):
            chunks.append(1)
        if len(chunks) == 2:
            raise OperationalError("INSERT", None, ConnectionError("server closed the connection"))

    @contextmanager
    def here() -> Iterator[Parts]:
        yield parts

    table, parts = file(), build(sqlite_url)
    event.listen(parts.engine, "before_cursor_execute", go_away)
    monkeypatch.setattr(import_work, "workplace", here)
    monkeypatch.setattr(importing, "CHUNK", 1)
    wanted = Wanted(text_template=HELLO[1], fields={"priority": "bulk"})
    with pytest.raises(typer.Exit) as ended:
        import_work.run(Path(table), wanted, dry_run=False, report=None, as_json=False)
    told = capsys.readouterr()

    assert ended.value.exit_code == 3
    assert "3 rows: 1 taken, 0 were taken before, 0 refused." in told.out
    assert "The same command goes on where it stopped" in told.err
    again = on("import", table, *HELLO, "--json")
    assert (again.code, again.json["taken_before"], again.json["taken"]) == (0, 1, 2)


def test_a_report_of_before_is_kept_where_the_channel_is_not_there(
    on: Truetick, file: Callable[..., str], tmp_path: Path
) -> None:
    report = tmp_path / "refused.csv"
    report.write_text("what is still to be corrected")
    said = on("import", file(), *HELLO, "--channel", "nowhere", "--report", str(report))
    assert said.code == 1
    assert report.read_text() == "what is still to be corrected"


@pytest.mark.parametrize(("is_terminal", "shown"), [(True, True), (True, False), (False, True)])
def test_the_progress_bar_is_for_people_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, shown: bool
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    monkeypatch.setattr(sys, "stderr", screen := Screen())
    monkeypatch.setenv("TERM", "xterm-256color")
    with progress(4, shown=shown) as advance:
        advance(3)
    assert ("3/4" in screen.getvalue()) is (is_terminal and shown)


def test_json_is_all_there_is_on_standard_output(on: Truetick, file: Callable[..., str]) -> None:
    said = on("import", file(), *HELLO, "--json")
    assert json.loads(said.out)["complete"] is True
    assert set(said.json) >= {"file", "run", "rows", "taken", "taken_before", "refused", "refused_by_code", "report"}
    assert said.err == ""
