"""`truetick db`: up, down and where it is."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.stack.processes import Running
from worker.revisions import head

DB = ("-m", "worker.cli.app", "db")


def test_the_tables_come_and_go(running: Callable[..., Running], tmp_path: Path) -> None:
    def db(*arguments: str) -> tuple[int, str]:
        command = running(*DB, *arguments, TRUETICK_VAR_DIR=str(tmp_path / "var"))
        return command.process.wait(30), command.output

    assert db("current") == (0, "The database is empty; run `truetick db upgrade`.\n")
    assert db("upgrade") == (0, f"The database is at revision {head()}.\n")
    assert db("current") == (0, f"{head()}\n")
    with sqlite3.connect(tmp_path / "var" / "truetick.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db("downgrade", "base")[0] == 1, "without --yes it asks, and nobody answers"
    assert db("downgrade", "base", "--yes") == (0, "The database is at revision base (empty).\n")
