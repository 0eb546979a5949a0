"""Changes of a channel's state: written once, with an event, and only when they are news."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from worker.channels import outages
from worker.channels.checks import ask_now
from worker.domain.channel_state import (
    DEFAULT_CHANNEL,
    KEY_ROTATION,
    NO_API_KEY,
    ChannelState,
    ChannelVerdict,
    lacks_key,
    state_after_report,
)
from worker.domain.errors import Conflict
from worker.domain.evidence import Connection as Connectivity
from worker.domain.evidence import ConnectionReport
from worker.models import Channel
from worker.outbox.events import Source, event, record
from worker.outbox.open_fates import call_off, judge_soon
from worker.outbox.questions import ask_soon

#: Why a channel is paused, where no story of Truetick's did it.
BY_A_PERSON = "by a person"
#: A mute channel is left alone this long before a single message is tried: its session may be restarting.
FIRST_PROBE_AFTER = timedelta(seconds=10)


def apply_report(
    connection: Connection,
    channel_id: int,
    report: ConnectionReport,
    *,
    now: datetime,
    source: Source,
    asked_at: datetime | None = None,
) -> ChannelVerdict | None:
    """Let WaSender's answer to "are you connected?" move the channel. Returns the new state if it is news.

    An answer to a question that was asked (`asked_at`) before the channel's latest change may be older than what led
    to that change. It says nothing, and the channel is due for the question again.
    """
    kept = _locked(connection, channel_id)
    if asked_at is not None and asked_at < kept.since <= now:
        ask_now(connection, channel_id, now=now)
        return None
    if report.connection is not Connectivity.UNVERIFIED:
        connection.execute(update(Channel).where(Channel.id == channel_id).values(checked_at=now))
    verdict = state_after_report(
        kept.state, kept.reason, kept.since, report, now, tick_awaited=kept.probe_at is not None
    )
    if verdict is not None:
        _write(connection, kept, verdict, now=now, source=source)
        if verdict.state is ChannelState.MUTE:  # connected again: the next single message shows whether that helped
            connection.execute(
                update(Channel).where(Channel.id == channel_id).values(probe_at=now, failures=0, rest_until=None)
            )
    return verdict


def go_mute(
    connection: Connection,
    channel_id: int,
    reason: str,
    *,
    now: datetime,
    source: Source,
    evidence: dict[str, Any],
) -> bool:
    """WaSender says connected, but nothing gets through: stop, and try single messages only. True if that is news.

    The first single message waits for as long as a restart of the session may take.
    """
    kept = _locked(connection, channel_id)
    if kept.state is not ChannelState.UP:
        return False
    _write(connection, kept, ChannelVerdict(ChannelState.MUTE, reason), now=now, source=source, evidence=evidence)
    connection.execute(
        update(Channel).where(Channel.id == channel_id).values(probe_at=now + FIRST_PROBE_AFTER, probes=0)
    )
    return True


def ticked(connection: Connection, channel_id: int, *, now: datetime, source: Source) -> bool:
    """WhatsApp has ticked a message of this channel: a mute one is up again. True if that is news.

    One that is out of service for another reason by now will be believed when WaSender says connected.
    """
    kept = _locked(connection, channel_id)
    if kept.state is not ChannelState.MUTE:
        if kept.probe_at is not None:
            connection.execute(update(Channel).where(Channel.id == channel_id).values(probe_at=None, probes=0))
        return False
    verdict = ChannelVerdict(ChannelState.UP, "ticked")
    _write(connection, kept, verdict, now=now, source=source)
    return True


def block(connection: Connection, channel_id: int, reason: str, *, now: datetime) -> None:
    """Stop a channel whose send was refused for a reason that a person has to mend."""
    kept = _locked(connection, channel_id)
    if kept.state in {ChannelState.UP, ChannelState.MUTE}:
        verdict = ChannelVerdict(ChannelState.BLOCKED, reason)
        _write(connection, kept, verdict, now=now, source=Source.WORKER)


def pause(connection: Connection, channel_id: int, *, now: datetime, reason: str = BY_A_PERSON) -> None:
    """Stop a channel because a person says so; harmless when it is paused, but a person's pause outlasts others.

    That it has no key to send with stays known.
    """
    kept = _locked(connection, channel_id)
    by_a_person = reason == BY_A_PERSON
    if by_a_person and lacks_key(kept.state, kept.reason):
        reason = NO_API_KEY
    if kept.state is not ChannelState.PAUSED or (kept.reason != reason and by_a_person):
        verdict = ChannelVerdict(ChannelState.PAUSED, reason)
        _write(connection, kept, verdict, now=now, source=Source.OPERATOR)


def end_pause(connection: Connection, channel_id: int, reason: str, *, now: datetime) -> bool:
    """Let a channel go on that is paused for this reason, and no other. True if it was."""
    kept = _locked(connection, channel_id)
    if kept.state is not ChannelState.PAUSED or kept.reason != reason:
        return False
    _write(connection, kept, ChannelVerdict(ChannelState.UNKNOWN, ""), now=now, source=Source.OPERATOR)
    connection.execute(update(Channel).where(Channel.id == channel_id).values(check_due_at=now))
    return True


def resume(connection: Connection, channel_id: int, *, now: datetime) -> None:
    """Let a paused or blocked channel be checked again. Raises Conflict where nobody stopped it, and where its key is
    being replaced (`key_rotation`): the one that is stored may be dead.
    """
    kept = _locked(connection, channel_id)
    if kept.state not in {ChannelState.PAUSED, ChannelState.BLOCKED}:
        raise Conflict(f"Channel {kept.name} is {kept.state}; only a paused or blocked one can be resumed.")
    if kept.state is ChannelState.PAUSED and kept.reason == KEY_ROTATION:
        raise Conflict(
            f"The key of channel {kept.name} is being replaced, and the one that is stored may be dead. If that was "
            f"interrupted, do it again: truetick channels rotate-key {kept.name}. Or copy the session's key from "
            f"WaSender: truetick channels set-key {kept.name}, then truetick channels resume {kept.name}",
            code=KEY_ROTATION,
        )
    verdict = ChannelVerdict(ChannelState.UNKNOWN, "")
    _write(connection, kept, verdict, now=now, source=Source.OPERATOR)
    connection.execute(update(Channel).where(Channel.id == channel_id).values(check_due_at=now))


def replace_key(
    connection: Connection, channel_id: int, api_key_encrypted: str, *, now: datetime, rotated: bool = False
) -> ChannelState:
    """Give a channel another key, and have it checked anew; a paused one stays paused. Returns its state.

    A person who gives it one ends what a rotation (`rotated`) has begun: the pause is that person's from then on.
    Raises Conflict for the default channel, whose key is the environment's.
    """
    kept = _locked(connection, channel_id)
    if kept.name == DEFAULT_CHANNEL:
        raise Conflict(
            f"The key of channel {DEFAULT_CHANNEL} stands in the workers' environment. "
            "Set WASENDER_API_KEY there and restart them.",
            code="key_of_environment",
        )
    connection.execute(
        update(Channel)
        .where(Channel.id == channel_id)
        .values(api_key_encrypted=api_key_encrypted, check_due_at=min(kept.check_due_at, now), checked_at=None)
    )
    paused = kept.state is ChannelState.PAUSED
    reason = BY_A_PERSON if kept.reason == KEY_ROTATION and not rotated else kept.reason
    verdict = ChannelVerdict(ChannelState.PAUSED, reason) if paused else ChannelVerdict(ChannelState.UNKNOWN, "")
    _write(connection, kept, verdict, now=now, source=Source.OPERATOR, because="key_replaced")
    return verdict.state


def _locked(connection: Connection, channel_id: int) -> Row[Any]:
    """The channel's row, and nobody else changes it until the end of the transaction."""
    return connection.execute(
        select(Channel.__table__).where(Channel.id == channel_id).with_for_update(key_share=True)
    ).one()


def _write(
    connection: Connection,
    kept: Row[Any],
    verdict: ChannelVerdict,
    *,
    now: datetime,
    source: Source,
    because: str | None = None,
    evidence: dict[str, Any] | None = None,
) -> None:
    changed: dict[str, Any] = {"state": verdict.state, "reason": verdict.reason[:64]}
    if verdict.state is not kept.state:
        changed |= {"since": now, "unacked_window": 1}
        if kept.state in outages.BROKEN or verdict.state in outages.BROKEN:
            # What is at WaSender without a tick may have been swallowed.
            changed["suspect_before"] = now
        if verdict.state is ChannelState.UP:
            call_off(connection, kept.id)
        if verdict.state in {ChannelState.UP, ChannelState.MUTE}:
            changed["rest_until"] = None
            ask_soon(connection, kept.id, now=now)
        if verdict.state is ChannelState.UP:
            judge_soon(connection, kept.id, now=now)
    if verdict.state is ChannelState.UP:
        changed |= {"failures": 0, "refused_since": None, "probe_at": None, "probes": 0}
    connection.execute(update(Channel).where(Channel.id == kept.id).values(**changed))
    outages.moved(connection, kept, verdict.state, verdict.reason[:64], now=now, source=source)
    news = event(
        channel_id=kept.id,
        at=now,
        source=source,
        before=kept.state,
        after=verdict.state,
        reason=because or verdict.reason[:64],
        evidence=evidence,
    )
    record(connection, [news])
