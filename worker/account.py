"""What the account can tell about our channels: which session each is, and what its message log says about messages
in doubt. Without a personal access token it can tell nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from worker.channels import registry
from worker.database import transaction
from worker.domain.account import Problem, SessionView
from worker.domain.doubt import Verdict
from worker.domain.errors import InvalidRequest, NotConfigured
from worker.domain.log_match import ABSENT_AFTER, Absent, Ambiguous, Found, NoProof, Reason, match_log
from worker.domain.log_reading import DoubtedAttempt, LogReading, read_log
from worker.gateway.payload import build_payload
from worker.outbox import contents, open_fates
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: What the log does not prove within this time after the attempt it will not prove later.
LONGEST_PATIENCE: Final = 3 * ABSENT_AFTER
_MAY_PASS = frozenset(
    {
        Reason.TOO_EARLY,
        Reason.ANSWER_AWAITED,
        Reason.PAGES_MISSING,
        Reason.ROWS_MISSING,
    }
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """The message log of one channel, read for certain attempts. `reading` None: it could not be read."""

    attempts: Mapping[int, DoubtedAttempt]
    reading: LogReading | None
    logging: bool | None
    #: Asking again can only repeat it.
    in_vain: bool = False


@dataclass(frozen=True, kw_only=True)
class LookedUp:
    verdict: Verdict
    gateway_msg_id: int | None = None


def read_logs(parts: Parts, rows: Sequence[Any]) -> Look | None:
    """Read the log of the one channel that all these doubts (`open_fates.take_due_doubts`) are on; None without
    a token. It is read before the verdicts' own transaction: see `worker.domain.log_match`.
    """
    if parts.account is None:
        return None
    with transaction(parts.engine) as connection:
        attempts = {row.seq: doubted for row in rows if (doubted := _doubted(connection, row)) is not None}
    session = session_of(parts, rows[0])
    if isinstance(session, Problem):
        return Look(attempts=attempts, reading=None, logging=None, in_vain=session.lasting)
    if session is None or session.api_key is None:  # a typed number alone proves nothing about whose log it is
        return Look(attempts=attempts, reading=None, logging=None, in_vain=True)
    client, number = parts.account, session.id
    reading = read_log(lambda page: client.message_logs(number, page), attempts.values(), began_at=parts.clock())
    in_vain = reading.problem is not None and reading.problem.lasting
    return Look(attempts=attempts, reading=reading, logging=session.log_messages, in_vain=in_vain)


def verdicts(connection: Connection, rows: Sequence[Any], look: Look | None, *, now: datetime) -> dict[int, LookedUp]:
    """What the log proves about each doubt (by seq), as things stand in this transaction."""
    if look is None:
        return {}
    if look.reading is None:
        found: Mapping[int, Any] = {}
    else:
        doubted = list(look.attempts.values())
        listed = {row.id for row in look.reading.rows}
        channel_id = rows[0].channel_id
        since = min((attempt.attempt_id for attempt in doubted), default=0)
        found = match_log(
            doubted,
            look.reading,
            known=open_fates.known_ids(connection, channel_id, since_attempt=since, listed=listed),
            logging=look.logging,
            in_flight=[
                attempt
                for row in open_fates.rivals(connection, channel_id, besides=[row.seq for row in rows], now=now)
                if (attempt := _attempt(connection, row, channel_id, at=now, after_id=None)) is not None
            ],
        )
    return {row.seq: _looked_up(found.get(row.attempt_id), row, look, now) for row in rows}


def _looked_up(verdict: Any, row: Any, look: Look, now: datetime) -> LookedUp:
    if isinstance(verdict, Found):
        if not verdict.verified:  # it is there, but under an id that may be anything
            return LookedUp(verdict=Verdict.UNCLEAR)
        failed = verdict.status == "failed"
        return LookedUp(verdict=Verdict.FOUND_FAILED if failed else Verdict.FOUND, gateway_msg_id=verdict.row_id)
    if isinstance(verdict, Absent):
        return LookedUp(verdict=Verdict.ABSENT)
    if isinstance(verdict, Ambiguous) or verdict == NoProof(reason=Reason.ROW_UNCLEAR):
        return LookedUp(verdict=Verdict.UNCLEAR)
    may_pass = verdict is None or (isinstance(verdict, NoProof) and verdict.reason in _MAY_PASS)
    in_time = now - row.finished_at < LONGEST_PATIENCE
    return LookedUp(verdict=Verdict.NOT_YET if may_pass and in_time and not look.in_vain else Verdict.NO_PROOF)


def _doubted(connection: Connection, row: Any) -> DoubtedAttempt | None:
    began_at = row.started_at or row.claimed_at
    after_id = open_fates.last_id_before(connection, row.channel_id, row.attempt_id, began_at)
    return _attempt(connection, row, row.channel_id, at=began_at, after_id=after_id)


def _attempt(
    connection: Connection, row: Any, channel_id: int, *, at: datetime, after_id: int | None
) -> DoubtedAttempt | None:
    """None where nobody knows what was posted at that time, or nothing can have been: the log proves nothing then."""
    content = contents.as_posted(connection, row.content, channel_id=channel_id, recipient=row.recipient, at=at)
    if content is None:
        return None
    try:
        posted = json.loads(build_payload(row.recipient, content))
    except InvalidRequest:
        return None
    return DoubtedAttempt(
        attempt_id=row.attempt_id,
        recipient=row.recipient,
        posted=posted,
        started_at=row.started_at or row.claimed_at,
        ended_at=row.finished_at,
        after_id=after_id,
    )


def session_of(parts: Parts, row: Any) -> SessionView | Problem | None:
    """The session behind a channel, found by its key or its number; None where the account has none like that.

    `row` has channel_id, gateway_session_id and api_key_encrypted.
    """
    assert parts.account is not None
    sessions = parts.account.sessions()
    if isinstance(sessions, Problem):
        log.warning("sessions_not_listed", problem=sessions.code.value)
        return sessions
    try:
        key = parts.vault.channel_key(row.api_key_encrypted)
    except NotConfigured:
        key = None
    for session in sessions:
        by_number = session.api_key is None and session.id == row.gateway_session_id
        if by_number or (key is not None and session.api_key == key):
            if row.gateway_session_id is None:
                with transaction(parts.engine) as connection:
                    registry.learn_session_id(connection, row.channel_id, session.id)
            return session
    log.warning("session_not_found", channel_id=row.channel_id, advice="is the token of the same account?")
    return None
