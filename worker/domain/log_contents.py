"""The rows of one reading of the message log, sorted by what is known of them: whose they are, what they say.

Ids are believed to be message ids only as far as ids of our own are among them (contract 10, row 9).
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from worker.domain.account import LogRow
from worker.domain.log_likeness import Key, said_by
from worker.domain.log_reading import DoubtedAttempt, LogReading


class LogContents:
    """`known` are ids that attempts of this channel bear, `settled` those of them that the log must have by now,
    `bounds` ids of ours that may belong to other channels."""

    def __init__(
        self, reading: LogReading, *, known: Collection[int], settled: Collection[int], bounds: Collection[int]
    ) -> None:
        self.reading = reading
        self._rows = {row.id: row for row in reading.rows}
        self._settled = settled
        #: Rows that no attempt bears, with what they say.
        self.unknown = [(row, said_by(row.to, row.content)) for row in self._rows.values() if row.id not in known]
        self._alike: defaultdict[Key, list[LogRow]] = defaultdict(list)
        for row, said in self.unknown:
            self._alike[said.key].append(row)
        lowest, highest = min(self._rows, default=0), max(self._rows, default=0)
        inside = [number for number in known if lowest <= number <= highest]
        #: Ids of ours should be among the rows, and most are not: these are other ids, which may meet ours by chance.
        self._contradicts_ids = sum(number in self._rows for number in inside) * 2 < len(inside)
        #: Is at least one id of ours among the rows?
        self.bears_our_ids = not self._contradicts_ids and any(number in self._rows for number in (*known, *bounds))

    def alike_rows(self, key: Key, attempt: DoubtedAttempt) -> Sequence[LogRow]:
        """The unknown rows that say the same as this attempt and may be its, by their ids and, where these cannot be
        relied on, by their times too."""
        by_id = self.bears_our_ids and attempt.after_id is not None
        return [
            row for row in self._alike.get(key, ()) if _is_later(row, attempt) and (by_id or attempt.in_time(row))
        ]

    def in_reach(self, row: LogRow, attempt: DoubtedAttempt) -> bool:
        """Can it not be ruled out that the row is this attempt's?"""
        if attempt.after_id is None:
            return attempt.in_time(row)
        return row.id > attempt.after_id or (not self.bears_our_ids and attempt.in_time(row))

    def bears_other_ids(self, attempt: DoubtedAttempt) -> bool:
        """Should ids of ours be among the rows that were read for this attempt, and are not?"""
        if self._contradicts_ids:
            return True
        return not self.bears_our_ids and self.reading.reaches(attempt) and bool(self.missing(attempt))

    def missing(self, attempt: DoubtedAttempt) -> Collection[int]:
        """Ids of messages that WaSender certainly took, around or after this attempt, and that the log lacks."""
        return [
            number
            for number in self._settled
            if (attempt.after_id is None or number >= attempt.after_id) and number not in self._rows
        ]

    def shows_contents(self, attempt: DoubtedAttempt) -> bool:
        """Were contents logged when this attempt was made?"""
        return any(row.content is not None and self.in_reach(row, attempt) for row in self._rows.values())


def _is_later(row: LogRow, attempt: DoubtedAttempt) -> bool:
    return attempt.after_id is None or row.id > attempt.after_id
