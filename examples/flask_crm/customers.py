"""The CRM's own table: customers, the message that was sent to each, and what is known of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

REFUSED, UNKNOWN = "refused", "not handed over"
PEOPLE = [("Asha Rao", "70330 00001"), ("Ravi Kumar", "+91 70330-00002"), ("Zoë Miller", "+44 7400 123456")]

TABLES = """
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    phone TEXT NOT NULL,
    message_id TEXT UNIQUE,
    status TEXT NOT NULL DEFAULT '',
    problem TEXT NOT NULL DEFAULT '',
    last_change INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS feed (place INTEGER NOT NULL);
"""


class Customers:
    """All SQL of this CRM."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._database() as database:
            database.executescript(TABLES)
            if not database.execute("SELECT 1 FROM customers").fetchone():
                database.executemany("INSERT INTO customers (name, phone) VALUES (?, ?)", PEOPLE)
                database.execute("INSERT INTO feed VALUES (0)")

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
            database.row_factory = sqlite3.Row
            yield database

    def all(self) -> list[sqlite3.Row]:
        with self._database() as database:
            return database.execute("SELECT * FROM customers ORDER BY id").fetchall()

    def begin_message(self, customer_id: int) -> sqlite3.Row | None:
        """Note the message before it is handed over: its first status may be told before the answer is there.

        One of which nobody knows whether Truetick has it keeps its id, so it cannot be sent twice.
        """
        with self._database() as database:
            database.execute(
                "UPDATE customers SET message_id = ?, last_change = 0 WHERE id = ? AND status <> ?",
                (str(uuid4()), customer_id, UNKNOWN),
            )
            database.execute("UPDATE customers SET status = 'pending', problem = '' WHERE id = ?", (customer_id,))
            found: sqlite3.Row | None = database.execute(
                "SELECT * FROM customers WHERE id = ?", (customer_id,)
            ).fetchone()
            return found

    def note_trouble(self, message_id: str, status: str, problem: str) -> None:
        """Note why it was not taken, unless a callback has told more by now."""
        with self._database() as database:
            database.execute(
                "UPDATE customers SET status = ?, problem = ? WHERE message_id = ? AND last_change = 0",
                (status, problem, message_id),
            )

    def learn(self, message: dict) -> None:
        """Use a status change, told by a callback or read from the feed; one that is known or old changes nothing."""
        change, error = message["change"], message["error"] or {}
        with self._database() as database:
            database.execute(
                "UPDATE customers SET status = ?, problem = ?, last_change = ? "
                "WHERE message_id = ? AND last_change < ?",
                (change["status"], error.get("message", ""), change["seq"], message["id"], change["seq"]),
            )

    def feed_place(self) -> int:
        with self._database() as database:
            place: int = database.execute("SELECT place FROM feed").fetchone()["place"]
            return place

    def move_feed_place(self, place: int) -> None:
        with self._database() as database:
            database.execute("UPDATE feed SET place = ?", (place,))
