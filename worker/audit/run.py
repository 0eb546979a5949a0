"""One audit: rows in chunks, each held against the ledger in one reading transaction. Memory does not grow."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Engine

from worker.audit.belief import Belief, Reader, Unreadable
from worker.audit.judging import Claimed, Finding, Judgement, judge_likely, judge_named
from worker.database import snapshot
from worker.outbox import ledger
from worker.outbox.ledger import Entry, TooMany
from worker.table_file import Row, TableFile

CHUNK = 500
#: How many messages are looked at for one chunk.
MOST_CANDIDATES = 5000


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One row and what came of it. `status` is what the CRM says, in our words; empty where that is not known."""

    row: Row
    status: str
    judgement: Judgement
    #: What is wrong with a row that cannot be read.
    problem: str = ""


class Audit:
    """Checks one table. `counts` grow as it goes on."""

    def __init__(
        self, engine: Engine, table: TableFile, reader: Reader, *, window: timedelta, is_coarse: bool
    ) -> None:
        self.counts: Counter[Finding] = Counter()
        self._engine = engine
        self._table = table
        self._reader = reader
        self._window = window
        self._is_coarse = is_coarse
        self._claimed = Claimed()

    def run(self, advance: Callable[[int], None]) -> Iterator[list[Checked]]:
        """What came of all rows, chunk by chunk, in order; no transaction is open in between."""
        if self._reader.names and self._reader.columns["to"]:
            # First of the whole table: a row without a name must not be taken for a message that a later one names.
            for chunk in _chunks(self._table):
                self._claim(chunk)
        for chunk in _chunks(self._table):
            checked = self._check(chunk)
            self.counts.update(one.judgement.finding for one in checked)
            advance(len(chunk))
            yield checked

    def _check(self, rows: Sequence[Row]) -> list[Checked]:
        checked: dict[int, Checked] = {}
        beliefs, unreadable = self._read(rows)
        for row, error in unreadable:
            judgement = Judgement(finding=Finding.UNREADABLE, detail=error.code)
            checked[row.number] = Checked(row=row, status="", judgement=judgement, problem=error.message)
        with snapshot(self._engine) as connection:
            for belief, judgement in self._judge(connection, beliefs):
                checked[belief.row.number] = Checked(row=belief.row, status=belief.status, judgement=judgement)
        return [checked[row.number] for row in rows]

    def _claim(self, rows: Sequence[Row]) -> None:
        beliefs, _ = self._read(rows)
        with snapshot(self._engine) as connection:
            for _ in self._judge_named(beliefs, self._named(connection, beliefs)):
                pass

    def _read(self, rows: Sequence[Row]) -> tuple[list[Belief], list[tuple[Row, Unreadable]]]:
        beliefs: list[Belief] = []
        unreadable: list[tuple[Row, Unreadable]] = []
        for row in rows:
            try:
                beliefs.append(self._reader.read(row))
            except Unreadable as error:
                unreadable.append((row, error))
        return beliefs, unreadable

    def _judge(self, connection: Connection, beliefs: Sequence[Belief]) -> Iterator[tuple[Belief, Judgement]]:
        """Those with an id or reference come first, so that no other row is taken for theirs."""
        named = self._named(connection, beliefs)
        yield from self._judge_named(beliefs, named)
        rest = [belief for belief in beliefs if belief.row.number not in named]
        likely = _looked_up(
            [belief for belief in rest if belief.recipient],
            lambda some: ledger.by_recipients(
                connection, {b.recipient for b in some if b.recipient}, **self._times(some), most=MOST_CANDIDATES
            ),
            attrgetter("recipient"),
        )
        for belief in rest:
            found = likely.get(belief.row.number, ())
            if found is None:
                yield belief, TOO_MANY
            else:
                judgement = judge_likely(belief, found, self._claimed, self._window, is_coarse=self._is_coarse)
                yield belief, self._keep(judgement)

    def _judge_named(self, beliefs: Sequence[Belief], named: "Found") -> Iterator[tuple[Belief, Judgement]]:
        for belief in beliefs:
            if belief.row.number in named:
                yield belief, self._keep(_of_named(belief, named[belief.row.number], is_coarse=self._is_coarse))

    def _named(self, connection: Connection, beliefs: Sequence[Belief]) -> "Found":
        """The entries of those whose id or reference the ledger knows."""
        ids = {
            entry.id: entry for entry in ledger.by_ids(connection, {b.message_id for b in beliefs if b.message_id})
        }
        found: Found = {b.row.number: [ids[b.message_id]] for b in beliefs if b.message_id in ids}
        by_ref = _looked_up(
            [belief for belief in beliefs if belief.crm_ref and belief.row.number not in found],
            lambda some: ledger.by_refs(connection, {b.crm_ref for b in some if b.crm_ref}, most=MOST_CANDIDATES),
            attrgetter("crm_ref"),
        )
        return found | {number: entries for number, entries in by_ref.items() if entries != []}

    def _keep(self, judgement: Judgement) -> Judgement:
        if judgement.entry is not None:
            self._claimed.add(judgement.entry.seq)
        return judgement

    def _times(self, beliefs: Sequence[Belief]) -> dict[str, Any]:
        times = [belief.at for belief in beliefs if belief.at is not None]
        if len(times) < len(beliefs):
            return {"since": None, "until": None}
        return {"since": min(times) - self._window, "until": max(times) + self._window}


#: The entries for each row, by its number; None: there are too many to look at.
Found = dict[int, list[Entry] | None]
TOO_MANY = Judgement(finding=Finding.AMBIGUOUS, detail="too_many")


def _of_named(belief: Belief, entries: Sequence[Entry] | None, *, is_coarse: bool) -> Judgement:
    return TOO_MANY if entries is None else judge_named(belief, entries, is_coarse=is_coarse)


def _looked_up(
    beliefs: Sequence[Belief],
    look_up: Callable[[Sequence[Belief]], list[Entry]],
    key: Callable[[Belief | Entry], str],
) -> Found:
    """Look entries up for many beliefs at once; in smaller parts where they have too many."""
    if not beliefs:
        return {}
    try:
        entries = look_up(beliefs)
    except TooMany:
        if len(beliefs) == 1:
            return {beliefs[0].row.number: None}
        middle = len(beliefs) // 2
        return _looked_up(beliefs[:middle], look_up, key) | _looked_up(beliefs[middle:], look_up, key)
    by_key: dict[str, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(key(entry), []).append(entry)
    return {belief.row.number: by_key.get(key(belief), []) for belief in beliefs}


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
