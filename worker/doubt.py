"""Doubt: judges messages whose fate is open, by WaSender's message logs, by their policy, or by calling a person."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import structlog
from sqlalchemy import Connection

from worker import account
from worker.channels import window
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.doubt import Decision, Doubt, Swallowed, Verdict, decide_doubt, decide_swallowed
from worker.domain.message_status import MessageState
from worker.domain.pending_reason import CHANNEL_OUT
from worker.domain.window import settle_s
from worker.outbox import open_fates
from worker.outbox.events import Source
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many messages in doubt are judged together.
BATCH = 100
#: How soon a message about which nothing can be decided yet is looked at again; on a channel that is not up, after a
#: tenth of its age up to this, for then a look is a dozen questions to WaSender that mostly answer as before.
LOOK_AGAIN, LOOK_AGAIN_AT_MOST = timedelta(seconds=10), timedelta(minutes=10)
#: An accepted message without a tick on a channel that was healthy all along is shown to a person after this, and so
#: is any whose fate is open while its channel is out for so long.
UNTICKED_FOR = timedelta(hours=1)

_GIVEN_UP = (
    "WaSender left this message without an answer again and again, and its logs show that it never took it. "
    "Look at the last attempt, and send it anew if it still matters."
)
_FAILED_AT_GATEWAY = "WaSender took this message and failed to send it. Check the number in the CRM."


def resolve(parts: Parts) -> bool:
    """Judge what is due. True when a message has gone back to the queue. Harmless when run twice at once."""
    requeued = judge_doubts(parts)
    requeued |= judge_swallowed(parts)
    flag_unticked(parts)
    flag_out(parts)
    return requeued


def judge_doubts(parts: Parts) -> bool:
    """Messages in doubt: evidence first, their policy second."""
    now = parts.clock()
    with transaction(parts.engine) as connection:
        due = open_fates.take_due_doubts(connection, now=now, most=BATCH)
    requeued = False
    by_channel = sorted(due, key=lambda row: row.channel_id)
    for _, rows in groupby(by_channel, key=lambda row: row.channel_id):
        requeued |= _judge_channel(parts, list(rows))
    return requeued


def _judge_channel(parts: Parts, rows: Sequence[Any]) -> bool:
    look = account.read_logs(parts, rows)
    now = parts.clock()
    settle = timedelta(seconds=parts.settings.settle_s)
    requeued = False
    with transaction(parts.engine) as connection:
        window.lock(connection, {row.channel_id for row in rows})
        verdicts = account.verdicts(connection, rows, look, now=now)
        for row in rows:
            since = max(row.finished_at, row.channel_since)
            doubt = Doubt(
                policy=row.on_doubt,
                doubts=row.doubts,
                resends=row.resends,
                settled=row.channel_state is ChannelState.UP and now - since >= settle,
                overtaken=row.overtaken,
            )
            found = verdicts.get(row.seq)
            decision = decide_doubt(doubt, found.verdict if found else Verdict.NO_PROOF)
            requeued |= _carry_out(connection, parts, row, decision, found)
    return requeued


def _carry_out(
    connection: Connection, parts: Parts, row: Any, decision: Decision, found: account.LookedUp | None
) -> bool:
    now, in_doubt = parts.clock(), MessageState.IN_DOUBT
    source = Source.LOGS if found and found.verdict in _PROVEN else Source.WORKER
    if decision is Decision.WAIT:
        open_fates.judge_again(connection, [row.seq], at=now + _pause(row, now))
    elif decision is Decision.ADOPT:
        assert found is not None
        open_fates.adopt(connection, row, in_doubt, now=now, source=source, gateway_msg_id=found.gateway_msg_id)
    elif decision is Decision.FAIL:
        at_gateway = found is not None and found.verdict is Verdict.FOUND_FAILED
        code = "gateway_failed" if at_gateway else "too_many_doubts"
        sentence = _FAILED_AT_GATEWAY if at_gateway else _GIVEN_UP
        open_fates.fail(connection, row, in_doubt, now=now, source=source, code=code, sentence=sentence)
    elif decision is Decision.HOLD:
        open_fates.hold(connection, row, in_doubt, now=now, code="in_doubt")
    else:
        resent = decision is Decision.RESEND
        reason = "resent_by_policy" if resent else "absent_from_logs"
        return open_fates.requeue(connection, row, in_doubt, now=now, source=source, reason=reason, resent=resent)
    log.info("doubt_judged", message_seq=row.seq, decision=decision.value)
    return False


def _pause(row: Any, now: datetime) -> timedelta:
    """A channel that comes up has its doubts looked at at once (`open_fates.judge_soon`)."""
    if row.channel_state is ChannelState.UP:
        return LOOK_AGAIN
    age: timedelta = now - row.finished_at
    return min(max(LOOK_AGAIN, age / 10), LOOK_AGAIN_AT_MOST)


_PROVEN = frozenset({Verdict.FOUND, Verdict.FOUND_FAILED, Verdict.ABSENT})


def judge_swallowed(parts: Parts) -> bool:
    """Accepted messages that an outage may have swallowed: message info has decided, or their policy does."""
    now, settings = parts.clock(), parts.settings
    settle = timedelta(seconds=settings.settle_s)
    requeued = False
    with transaction(parts.engine) as connection:
        rows = open_fates.take_swallowed(connection, now=now, settle=settle)
        still_open: set[str] = set()
        held: set[str] = set()
        # The last one to a recipient first: an earlier one can only be sent again when the later ones are, too.
        for row in sorted(rows, key=lambda row: row.claimed_at, reverse=True):
            patient_s = settle_s(settings.settle_s, settings.ack_timeout_s, row.tick_latency_s)
            settled_at = row.channel_since + timedelta(seconds=patient_s)
            asked = row.asked_at is not None and row.asked_at >= settled_at
            message = Swallowed(
                # One without WaSender's id went out by a webhook's word. It cannot be asked about, so it is given the
                # same time once more for another webhook, and is not sent again.
                policy=settings.on_stuck if row.gateway_msg_id is not None else "hold",
                resends=row.resends,
                settled=asked if row.gateway_msg_id is not None else now >= settled_at + settle,
                overtaken=row.overtaken or row.recipient in held,
                later_open=row.recipient in still_open,
                failed=row.failed,
            )
            decision = decide_swallowed(message)
            if decision is Decision.RESEND:
                requeued |= open_fates.requeue(
                    connection,
                    row,
                    MessageState.ACCEPTED,
                    now=now,
                    source=Source.WORKER,
                    reason="resent_after_outage",
                    resent=True,
                )
                continue
            if decision is Decision.WAIT:
                still_open.add(row.recipient)
            elif decision is Decision.FAIL:
                open_fates.fail(
                    connection,
                    row,
                    MessageState.ACCEPTED,
                    now=now,
                    source=Source.INFO,
                    code="whatsapp_error",
                    sentence=_FAILED_AT_GATEWAY,
                )
            else:
                held.add(row.recipient)
                open_fates.hold(connection, row, MessageState.ACCEPTED, now=now, code="no_tick")
    return requeued


def flag_unticked(parts: Parts) -> None:
    """A missing tick alone never causes a resend; past a deadline a person is told of it."""
    now = parts.clock()
    with snapshot(parts.engine) as connection:
        rows = open_fates.unticked_too_long(connection, before=now - UNTICKED_FOR)
    for row in rows:
        with transaction(parts.engine) as connection:
            open_fates.hold(connection, row, MessageState.ACCEPTED, now=now, code="no_tick")


def flag_out(parts: Parts) -> None:
    """Nothing is judged while a channel is out. If that lasts, people are told what waits for it, and may decide."""
    now = parts.clock()
    with snapshot(parts.engine) as connection:
        rows = open_fates.out_too_long(connection, before=now - UNTICKED_FOR)
    for row in rows:
        with transaction(parts.engine) as connection:
            # One that has come up since that look has taken its messages back already, and does so only once.
            window.lock(connection, [row.channel_id])
            if open_fates.is_out(connection, row.channel_id):
                open_fates.hold(connection, row, row.state, now=now, code=CHANNEL_OUT)
