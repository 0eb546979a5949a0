"""Changes of a channel's state: written once, with an event, and only when they are news."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from worker.domain.channel_state import DEFAULT_CHANNEL, ChannelState, ChannelVerdict, state_after_report
from worker.domain.errors import Conflict
from worker.domain.evidence import Connection as Connectivity
from worker.domain.evidence import ConnectionReport
from worker.models import Channel
from worker.outbox.events import Source, event, record


def apply_report(
    connection: Connection, channel_id: int, report: ConnectionReport, *, now: datetime, source: Source
) -> ChannelVerdict | None:
    """Let WaSender's answer to "are you connected?" move the channel. Returns the new state if it is news."""
    kept = connection.execute(
        select(Channel.state, Channel.reason, Channel.since)
        .where(Channel.id == channel_id)
        .with_for_update(key_share=True)
    ).one()
    if report.connection is not Connectivity.UNVERIFIED:
        connection.execute(update(Channel).where(Channel.id == channel_id).values(checked_at=now))
    verdict = state_after_report(kept.state, kept.reason, kept.since, report, now)
    if verdict is not None:
        _write(connection, channel_id, kept.state, verdict, now=now, source=source)
    return verdict


def block(connection: Connection, channel_id: int, reason: str, *, now: datetime) -> None:
    """Stop a channel whose send was refused for a reason that a person has to mend."""
    kept = connection.execute(
        select(Channel.state).where(Channel.id == channel_id).with_for_update(key_share=True)
    ).scalar_one()
    if kept is ChannelState.UP:
        verdict = ChannelVerdict(ChannelState.BLOCKED, reason)
        _write(connection, channel_id, kept, verdict, now=now, source=Source.WORKER)


def pause(connection: Connection, channel_id: int, *, now: datetime) -> None:
    """Stop a channel because a person says so; harmless when it is paused already."""
    kept = connection.execute(
        select(Channel.state).where(Channel.id == channel_id).with_for_update(key_share=True)
    ).scalar_one()
    if kept is not ChannelState.PAUSED:
        verdict = ChannelVerdict(ChannelState.PAUSED, "by a person")
        _write(connection, channel_id, kept, verdict, now=now, source=Source.OPERATOR)


def resume(connection: Connection, channel_id: int, *, now: datetime) -> None:
    """Let a paused or blocked channel be checked again. Raises Conflict where nobody stopped it."""
    kept = connection.execute(
        select(Channel.name, Channel.state).where(Channel.id == channel_id).with_for_update(key_share=True)
    ).one()
    if kept.state not in {ChannelState.PAUSED, ChannelState.BLOCKED}:
        raise Conflict(f"Channel {kept.name} is {kept.state}; only a paused or blocked one can be resumed.")
    verdict = ChannelVerdict(ChannelState.UNKNOWN, "")
    _write(connection, channel_id, kept.state, verdict, now=now, source=Source.OPERATOR)
    connection.execute(update(Channel).where(Channel.id == channel_id).values(check_due_at=now))


def replace_key(connection: Connection, channel_id: int, api_key_encrypted: str, *, now: datetime) -> ChannelState:
    """Give a channel another key, and have it checked anew; a paused one stays paused. Returns its state.

    Raises Conflict for the default channel, whose key is the environment's.
    """
    kept = connection.execute(
        select(Channel.name, Channel.state, Channel.reason)
        .where(Channel.id == channel_id)
        .with_for_update(key_share=True)
    ).one()
    if kept.name == DEFAULT_CHANNEL:
        raise Conflict(
            f"The key of channel {DEFAULT_CHANNEL} stands in the workers' environment. "
            "Set WASENDER_API_KEY there and restart them.",
            code="key_of_environment",
        )
    connection.execute(
        update(Channel)
        .where(Channel.id == channel_id)
        .values(api_key_encrypted=api_key_encrypted, check_due_at=now, checked_at=None)
    )
    paused = kept.state is ChannelState.PAUSED
    verdict = ChannelVerdict(ChannelState.PAUSED, kept.reason) if paused else ChannelVerdict(ChannelState.UNKNOWN, "")
    _write(connection, channel_id, kept.state, verdict, now=now, source=Source.OPERATOR, because="key_replaced")
    return verdict.state


def _write(
    connection: Connection,
    channel_id: int,
    before: ChannelState,
    verdict: ChannelVerdict,
    *,
    now: datetime,
    source: Source,
    because: str | None = None,
) -> None:
    changed: dict[str, Any] = {"state": verdict.state, "reason": verdict.reason[:64]}
    if verdict.state is not before:
        changed["since"] = now
    if verdict.state is ChannelState.UP:
        changed["failures"] = 0
    connection.execute(update(Channel).where(Channel.id == channel_id).values(**changed))
    news = event(
        channel_id=channel_id,
        at=now,
        source=source,
        before=before,
        after=verdict.state,
        reason=because or verdict.reason[:64],
    )
    record(connection, [news])
