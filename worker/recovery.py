"""What a personal access token adds to an outage: the restart of a mute session, and the hour at which it began."""

from datetime import datetime, timedelta
from typing import Any

import structlog

from worker import account
from worker.channels import outages
from worker.database import transaction
from worker.domain.account import Problem, ProblemCode
from worker.domain.outage_start import began_from_session_logs
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many outages one run takes up; the next one follows within seconds.
BATCH = 20
#: The shortest and the longest pause before WaSender is asked again where it could not be.
AGAIN_AFTER = (timedelta(seconds=10), timedelta(minutes=15))
#: When an outage began is asked for no longer than this.
DATED_WITHIN = timedelta(days=1)


def recover(parts: Parts) -> None:
    """Restart what is mute, and date what is down. Does nothing without a token.

    Each is done once an outage, and tried again where WaSender could not be asked.
    """
    if parts.account is None:
        return
    restart_mute(parts)
    date_outages(parts)


def restart_mute(parts: Parts) -> None:
    """WaSender restarts the sessions of mute channels. It is noted as asked for before it is, so never twice."""
    assert parts.account is not None
    with transaction(parts.engine) as connection:
        due = outages.take_restarts(connection, now=parts.clock(), most=BATCH)
    for row in due:
        result, may_be_known = _restart(parts, row)
        log.warning("session_restart", channel=row.name, outage=row.outage_id, result=result)
        with transaction(parts.engine) as connection:
            if may_be_known:
                outages.note_restart(connection, row.outage_id, result)
            else:
                outages.restart_later(connection, row.outage_id, result, at=_again_at(parts, row.noticed_at))


def _restart(parts: Parts, row: Any) -> tuple[str, bool]:
    """What came of it, and whether asking again might restart the session twice, or be in vain."""
    assert parts.account is not None
    session = account.session_of(parts, row)
    if session is None:
        return "no_session_found", True
    if isinstance(session, Problem):
        return session.code.value, False
    answer = parts.account.restart(session.id)
    if isinstance(answer, Problem):
        return answer.code.value, answer.code is not ProblemCode.UNREACHABLE
    return ("restarted" if answer.restarted else "refused"), True


def _again_at(parts: Parts, noticed_at: datetime) -> datetime:
    """Ever more rarely, the longer it lasts."""
    now, (least, most) = parts.clock(), AGAIN_AFTER
    return now + min(max((now - noticed_at) / 2, least), most)


def date_outages(parts: Parts) -> None:
    """Ask WaSender's session logs when the session was lost, for it is mostly earlier than we noticed."""
    assert parts.account is not None
    with transaction(parts.engine) as connection:
        due = outages.take_undated(connection, now=parts.clock(), most=BATCH)
    for row in due:
        session = account.session_of(parts, row)
        if session is None:
            continue
        page = session if isinstance(session, Problem) else parts.account.session_logs(session.id)
        if isinstance(page, Problem):
            log.warning("session_logs_not_read", outage=row.outage_id, problem=page.code.value)
            again_at = _again_at(parts, row.noticed_at)
            if not page.lasting and again_at - row.noticed_at <= DATED_WITHIN:
                with transaction(parts.engine) as connection:
                    outages.date_later(connection, row.outage_id, at=again_at)
            continue
        began_at = began_from_session_logs(
            page.rows, noticed_at=row.noticed_at, skew_s=page.skew_s, last_good_at=row.last_good_at - LOG_MARGIN
        )
        if began_at is not None:
            with transaction(parts.engine) as connection:
                outages.date(connection, row.outage_id, began_at)


#: Session logs count whole seconds, and the gateway's clock is known to about one.
LOG_MARGIN = timedelta(seconds=2)
