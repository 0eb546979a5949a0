"""`truetick db`: up, down and where it is."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.processes import Running
from worker.revisions import head

DB = ("-m", "worker.cli.app", "db")


def test_the_tables_come_and_go(running: Callable[..., Running], tmp_path: Path) -> None:
    def db(*arguments: str) -> tuple[int, str]:
        command = running(*DB, *arguments, TRUETICK_VAR_DIR=str(tmp_path / "var"))
        return command.process.wait(30), command.output

    assert db("current") == (0, "The database is empty; run `truetick db upgrade`.\n")
    code, said = db("downgrade", "base", "--yes")
    assert (code, "There is no database at" in said) == (1, True)
    assert not (tmp_path / "var").exists(), "whoever only asks makes none"
    assert db("upgrade") == (0, f"The database is at revision {head()}.\n")
    assert db("current") == (0, f"{head()}\n")
    with sqlite3.connect(tmp_path / "var" / "truetick.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db("downgrade", "base")[0] == 1, "without --yes it asks, and nobody answers"
    assert db("downgrade", "base", "--yes") == (0, "The database is at revision base (empty).\n")


def test_only_their_owner_can_read_the_folder_and_the_database_that_an_upgrade_makes(
    running: Callable[..., Running], tmp_path: Path
) -> None:
    var = tmp_path / "var"
    assert running(*DB, "upgrade", TRUETICK_VAR_DIR=str(var)).process.wait(30) == 0

    with sqlite3.connect(var / "truetick.db") as connection:
        connection.execute("PRAGMA user_version = 1")
        modes = {file.name: file.stat().st_mode & 0o777 for file in (var, *var.iterdir())}
    connection.close()
    assert modes == {"var": 0o700, "truetick.db": 0o600, "truetick.db-wal": 0o600, "truetick.db-shm": 0o600}


def test_a_folder_and_a_database_that_are_there_stay_as_a_person_made_them(
    running: Callable[..., Running], tmp_path: Path
) -> None:
    var = tmp_path / "var"
    var.mkdir()
    var.chmod(0o750)
    (var / "truetick.db").touch()
    (var / "truetick.db").chmod(0o640)

    assert running(*DB, "upgrade", TRUETICK_VAR_DIR=str(var)).process.wait(30) == 0

    assert (var.stat().st_mode & 0o777, (var / "truetick.db").stat().st_mode & 0o777) == (0o750, 0o640)


@pytest.mark.parametrize("command", [("db", "upgrade"), ("up",)])
def test_a_folder_that_cannot_be_written_to_is_named_in_a_sentence(
    running: Callable[..., Running], tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    said = running(*DB[:-1], *command, TRUETICK_VAR_DIR=str(tmp_path / "file" / "var"))
    assert said.process.wait(30) == 1
    assert "cannot be written to" in said.output
    assert "TRUETICK_VAR_DIR" in said.output
    assert "Traceback" not in said.output
