"""Channel health: asks WaSender whether each channel is connected, and moves its state by the answer."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row

from worker.channels import checks, outages, registry, states
from worker.database import transaction
from worker.domain.channel_state import NO_API_KEY, ChannelState, remedy, state_after_report
from worker.domain.errors import NotConfigured
from worker.domain.evidence import Connection, ConnectionReport
from worker.outbox.events import Source
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many channels are taken up together, and asked at once. No more are taken than are asked at once, for whoever
#: takes a channel has to ask about it before it is due again: a gateway that hangs answers after seconds.
ASKERS = 32
#: A question out of turn keeps others from asking the same for so long only: the schedule's next tick asks all the
#: same, or a reconnect just after it would be learnt almost two intervals later.
OUT_OF_TURN = timedelta(seconds=1)
#: A channel that is connected again can send, if only a single message where a tick is awaited first.
_SENDING = frozenset({ChannelState.UP, ChannelState.MUTE})


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What WaSender said of a channel, whose row is as it was when it was taken up."""

    row: Row[Any]
    asked_at: datetime
    report: ConnectionReport


def check_channels(parts: Parts, wake: Callable[[], None] = lambda: None) -> bool:
    """Ask about every channel that is due; True when one is connected again, so that sending can go on.

    At most one cheap question a channel and interval, however many schedules run. `wake` is called as soon as one has
    come up: the others may take their time.
    """
    came_up = False
    with transaction(parts.engine) as connection:
        registry.follow_environment(
            connection,
            parts.settings.pace,
            parts.clock(),
            daily_cap=parts.settings.daily_cap,
            first_contact_cap=parts.settings.first_contacts_per_day,
            has_key=parts.settings.gateway_api_key is not None,
        )
    with transaction(parts.engine) as connection:
        outages.follow_use(connection, now=parts.clock())
    with ThreadPoolExecutor(ASKERS, thread_name_prefix="status") as askers:
        while not parts.stopping.is_set():
            now = parts.clock()
            with transaction(parts.engine) as connection:
                due = checks.take_due_checks(connection, now=now, again_at=_again_at(parts, now), most=ASKERS)
            asked = {askers.submit(_ask, parts, row) for row in due}
            while asked:
                done, asked = wait(asked, return_when=FIRST_COMPLETED)
                if _learn(parts, [answer.result() for answer in done], now):
                    came_up = True
                    wake()
            if len(due) < ASKERS:
                return came_up
    return came_up


def _again_at(parts: Parts, now: datetime) -> datetime:
    """A little less than the schedule's interval, so that its next tick finds the channel due."""
    return now + timedelta(seconds=parts.settings.check_interval_s * 0.8)


def _learn(parts: Parts, answers: Sequence[_Answer], now: datetime) -> bool:
    """Write down what these channels are said to be. True when one has come up."""
    came_up = False
    known = []
    for answer in answers:
        if _is_news(answer.row, answer.report, now):
            came_up |= _apply(parts, answer)
        elif answer.report.connection is not Connection.UNVERIFIED:
            known.append(answer)
    return _confirm(parts, known) or came_up


def check_now(parts: Parts, channel_id: int) -> bool:
    """Ask about one channel if it is due, because something was heard about it. True when it is connected again."""
    now = parts.clock()
    with transaction(parts.engine) as connection:
        again_at = min(_again_at(parts, now), now + OUT_OF_TURN)
        row = checks.take_one(connection, channel_id, now=now, again_at=again_at)
    return row is not None and _apply(parts, _ask(parts, row))


def _is_news(row: Row[Any], report: ConnectionReport, now: datetime) -> bool:
    awaited = row.probe_at is not None
    return state_after_report(row.state, row.reason, row.since, report, now, tick_awaited=awaited) is not None


def _confirm(parts: Parts, known: Sequence[_Answer]) -> bool:
    """Note that these answers brought no news; one whose channel is not as it was when it was asked may be news."""
    if not known:
        return False
    with transaction(parts.engine) as connection:
        noted = checks.confirm(connection, [answer.row for answer in known], now=parts.clock())
    came_up = [_apply(parts, answer) for answer in known if answer.row.id not in noted]
    return any(came_up)


def _apply(parts: Parts, answer: _Answer) -> bool:
    """One channel a transaction: whoever locks several at once can end in a deadlock with a drain run."""
    row = answer.row
    with transaction(parts.engine) as connection:
        verdict = states.apply_report(
            connection,
            row.id,
            answer.report,
            now=parts.clock(),
            source=Source.STATUS,
            asked_at=answer.asked_at,
        )
    if verdict is None:
        return False
    advice = remedy(verdict.state, verdict.reason, row.name)
    said = log.info if advice is None else log.warning
    said("channel_state", channel=row.name, state=verdict.state.value, reason=verdict.reason, advice=advice)
    return verdict.state in _SENDING


def _ask(parts: Parts, row: Row[Any]) -> _Answer:
    asked_at = parts.clock()
    return _Answer(row=row, asked_at=asked_at, report=_report(parts, row))


def _report(parts: Parts, row: Row[Any]) -> ConnectionReport:
    if parts.stopping.is_set():
        return ConnectionReport(connection=Connection.UNVERIFIED, word="stopping")
    try:
        key = parts.vault.channel_key(row.api_key_encrypted)
    except NotConfigured as error:
        return ConnectionReport(connection=Connection.REFUSED, word=error.code)
    if key is None:
        return ConnectionReport(connection=Connection.REFUSED, word=NO_API_KEY)
    return parts.gateway.status(key.get_secret_value())
