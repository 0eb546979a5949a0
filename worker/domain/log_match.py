"""What WaSender's message log proves about attempts in doubt: taken, not taken, or nothing.

It decides whether something is sent twice, so "absent" needs every proof there is, and "found" needs that no other
attempt could claim the row. Ids replace clocks: they come from one sequence that only grows.

How to ask, so that no row is given to the wrong attempt: read the log first (`log_reading.read_log`); then, in the
transaction that writes the verdicts down, read `known` and `in_flight` afresh and match. An id that became known,
or a POST that began, while the log was read is then accounted for.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.account import LogRow
from worker.domain.log_contents import LogContents
from worker.domain.log_likeness import Key, Likeness, likeness, said_by
from worker.domain.log_reading import DoubtedAttempt, LogReading

#: A request that was given up may still be worked on; so long after its end the log is believed to lack it.
ABSENT_AFTER: Final = timedelta(seconds=120)


@dataclass(frozen=True, kw_only=True)
class Found:
    """WaSender took it under this id. `status` is the log's word: `in_progress`, `sent` or `failed`."""

    row_id: int
    status: str
    #: The log bears at least one id that we knew, so its ids are message ids of this very session.
    verified: bool


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Proven: WaSender did not take it."""


@dataclass(frozen=True, kw_only=True)
class Ambiguous:
    """There are alike rows, but not one for each alike attempt: which is whose, and who has none, stays open."""

    rows: int
    attempts: int


class Reason(StrEnum):
    """Why the log proves nothing. The first five may pass with time, the others hardly."""

    #: The attempt ended too short a time before the log was read.
    TOO_EARLY = "too_early"
    #: An alike message is on its way at this moment, and a row may be its.
    ANSWER_AWAITED = "answer_awaited"
    #: The pages read do not reach back far enough, or not in an order that proves it.
    PAGES_MISSING = "pages_missing"
    #: Messages that WaSender certainly took are not in it: the log lags, was purged, or is another session's.
    ROWS_MISSING = "rows_missing"
    #: No id of ours is in it where some should be: its ids are not message ids.
    IDS_UNVERIFIED = "ids_unverified"
    #: The session does not log recipients and contents, or did not then.
    LOGGING_OFF = "logging_off"
    LOGGING_UNKNOWN = "logging_unknown"
    #: A row may be it, but is not spelled as it was posted.
    ROW_UNCLEAR = "row_unclear"


@dataclass(frozen=True, kw_only=True)
class NoProof:
    reason: Reason


Verdict = Found | Absent | Ambiguous | NoProof


def match_log(
    doubted: Iterable[DoubtedAttempt],
    reading: LogReading,
    *,
    known: Mapping[int, datetime],
    logging: bool | None,
    in_flight: Iterable[DoubtedAttempt] = (),
    absent_after: timedelta = ABSENT_AFTER,
) -> dict[int, Verdict]:
    """Give one verdict for each doubted attempt of one channel, by its `attempt_id`.

    `known` has the ids that attempts of this channel bear, with the time each attempt ended: at least from the
    smallest `after_id` on, that one included. `logging` is the session's `log_messages`, None if it was not told.
    `in_flight` are attempts whose own answers may still come: they lay claim to rows and get no verdict.
    """
    asked = {attempt.attempt_id: attempt for attempt in doubted}
    rivals = {attempt.attempt_id: attempt for attempt in in_flight if attempt.attempt_id not in asked}
    log = LogContents(
        reading,
        settled={number for number, ended_at in known.items() if ended_at <= reading.began_at - absent_after},
        known=known.keys(),
        bounds={attempt.after_id for attempt in asked.values() if attempt.after_id is not None},
    )
    alike: defaultdict[Key, list[DoubtedAttempt]] = defaultdict(list)
    for attempt in (*asked.values(), *rivals.values()):
        alike[_key(attempt)].append(attempt)
    verdicts: dict[int, Verdict] = {}
    claimed: dict[int, Key] = {}
    for key, attempts in alike.items():
        rows = {attempt.attempt_id: log.alike_rows(key, attempt) for attempt in attempts}
        claimed |= {row.id: key for found in rows.values() for row in found}
        claimants = sorted(
            (attempt for attempt in attempts if rows[attempt.attempt_id]),
            key=lambda attempt: (attempt.started_at, attempt.attempt_id),
        )
        verdicts |= _share_out(log, claimants, rows, rivals)
    for attempt in asked.values():
        if attempt.attempt_id not in verdicts:
            too_early = reading.began_at - attempt.ended_at < absent_after
            reason = _doubt_of_absence(log, attempt, claimed, logging=logging, too_early=too_early)
            verdicts[attempt.attempt_id] = Absent() if reason is None else NoProof(reason=reason)
    return {attempt_id: verdicts[attempt_id] for attempt_id in asked}


def _key(attempt: DoubtedAttempt) -> Key:
    return said_by(attempt.recipient, attempt.posted).key


def _share_out(
    log: LogContents,
    claimants: Sequence[DoubtedAttempt],
    rows: Mapping[int, Sequence[LogRow]],
    rivals: Collection[int],
) -> dict[int, Verdict]:
    """Give alike rows to the alike attempts that may have them, in the order of both, when there is one for each."""
    if any(map(log.bears_other_ids, claimants)):
        return {attempt.attempt_id: NoProof(reason=Reason.IDS_UNVERIFIED) for attempt in claimants}
    all_rows = {row.id: row for attempt in claimants for row in rows[attempt.attempt_id]}
    in_order = [all_rows[number] for number in sorted(all_rows)]
    if len(in_order) == len(claimants) and all(
        row in rows[attempt.attempt_id] for attempt, row in zip(claimants, in_order, strict=True)
    ):
        return {
            attempt.attempt_id: Found(row_id=row.id, status=row.status, verified=log.bears_our_ids)
            for attempt, row in zip(claimants, in_order, strict=True)
        }
    if any(attempt.attempt_id in rivals for attempt in claimants):
        return {attempt.attempt_id: NoProof(reason=Reason.ANSWER_AWAITED) for attempt in claimants}
    tie = Ambiguous(rows=len(in_order), attempts=len(claimants))
    return {attempt.attempt_id: tie for attempt in claimants}


def _doubt_of_absence(
    log: LogContents,
    attempt: DoubtedAttempt,
    claimed: Mapping[int, Key],
    *,
    logging: bool | None,
    too_early: bool,
) -> Reason | None:
    """Give what keeps us from saying that WaSender did not take an attempt that has no row; None: nothing does."""
    if logging is False:
        return Reason.LOGGING_OFF
    if too_early:
        return Reason.TOO_EARLY
    if not log.reading.reaches(attempt):
        return Reason.PAGES_MISSING
    if log.bears_other_ids(attempt):
        return Reason.IDS_UNVERIFIED
    if log.missing(attempt):
        return Reason.ROWS_MISSING
    if not log.bears_our_ids and not log.reading.reaches_time(attempt.earliest):
        return Reason.IDS_UNVERIFIED  # what lies beyond `after_id` was not read, and that may be anything
    posted = said_by(attempt.recipient, attempt.posted)
    for row, logged in log.unknown:
        is_anothers = claimed.get(row.id, posted.key) != posted.key
        if is_anothers or not log.in_reach(row, attempt):
            continue
        match likeness(posted, logged):
            case Likeness.SAME:
                return Reason.IDS_UNVERIFIED
            case Likeness.UNCLEAR:
                return Reason.LOGGING_OFF if row.to is None or row.content is None else Reason.ROW_UNCLEAR
    return None if logging or log.shows_contents(attempt) else Reason.LOGGING_UNKNOWN
