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
