"""Outages as they happen: opened when a channel stops sending, closed when it is up again, with what was at risk.

Reading them back is the business of `outage_audit`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, func, insert, literal, literal_column, or_, select, update

from worker.database import insert_unless_there
from worker.domain.alarm import alarm_after
from worker.domain.channel_state import NO_API_KEY, ChannelState, lacks_key
from worker.models import Channel, Message, Outage, OutageMessage
from worker.outbox.events import Source
from worker.outbox.openness import is_open

#: A session is restarted at most once in an outage, and not more often than this.
RESTART_PAUSE = timedelta(minutes=15)
#: The session log may be written a little later than the session ends.
LOGS_WRITTEN_AFTER = timedelta(seconds=5)
#: A channel in one of these states cannot send, and nobody wanted that.
BROKEN = frozenset({ChannelState.DOWN, ChannelState.MUTE, ChannelState.BLOCKED})


def moved(
    connection: Connection, channel: Row[Any], state: ChannelState, reason: str, *, now: datetime, source: Source
) -> None:
    """Keep the outage of a channel in step with its state, which has just changed.

    `channel` is its row before the change. One without a key is no outage while nothing waits for it: it is not used.
    """
    if state is ChannelState.UP or _is_unused(connection, channel.id, state, reason):
        _close(connection, channel.id, now=now, source=source)
    elif state in BROKEN:
        opened = _open_outage(connection, channel.id)
        if opened is None:
            _open(connection, channel, state, reason, now=now, source=source)
        else:
            _alarm_by(connection, opened, now, alarm_after(state, reason))
            if state is ChannelState.MUTE:
                _restart_by(connection, opened.id, _restart_due(connection, channel.id, now))
    elif state is ChannelState.PAUSED:  # a person knows
        connection.execute(
            update(Outage)
            .where(Outage.channel_id == channel.id, Outage.ended_at.is_(None), Outage.alarmed_at.is_(None))
            .values(alarm_due_at=None)
        )


def follow_use(connection: Connection, *, now: datetime) -> None:
    """Open an outage of each channel without a key that messages have come to wait for; close it when none do."""
    keyless = (
        select(Channel.__table__)
        .where(Channel.reason == NO_API_KEY, Channel.state.in_((ChannelState.BLOCKED, ChannelState.PAUSED)))
        .order_by(Channel.id)
        .with_for_update(key_share=True)
    )
    for channel in connection.execute(keyless).all():
        if not _any_pending(connection, channel.id):
            _close(connection, channel.id, now=now, source=Source.WORKER)
        elif channel.state is ChannelState.BLOCKED and _open_outage(connection, channel.id) is None:
            _open(connection, channel, channel.state, channel.reason, now=now, source=Source.WORKER)


def _is_unused(connection: Connection, channel_id: int, state: ChannelState, reason: str) -> bool:
    return lacks_key(state, reason) and not _any_pending(connection, channel_id)


def _any_pending(connection: Connection, channel_id: int) -> bool:
    """In three parts, for there is an index of each."""
    queued = Message.state == literal_column("'queued'")
    for part in (queued, is_open("messages"), Message.attention.is_not(None)):
        asked = select(Message.seq).where(Message.channel_id == channel_id, part).limit(1)
        if connection.execute(asked).first() is not None:
            return True
    return False


def _open_outage(connection: Connection, channel_id: int) -> Any:
    return connection.execute(
        select(Outage.id, Outage.alarm_due_at, Outage.alarmed_at).where(
            Outage.channel_id == channel_id, Outage.ended_at.is_(None)
        )
    ).one_or_none()


def _open(
    connection: Connection, channel: Row[Any], state: ChannelState, reason: str, *, now: datetime, source: Source
) -> None:
    began_at, began_by = _beginning(connection, channel, state, now)
    outage_id = connection.execute(
        insert(Outage)
        .values(
            channel_id=channel.id,
            state=state,
            reason=reason,
            began_at=began_at,
            began_by=began_by,
            noticed_at=now,
            noticed_by=source.value,
            alarm_due_at=now + alarm_after(state, reason),
            restart_due_at=_restart_due(connection, channel.id, now) if state is ChannelState.MUTE else None,
            logs_due_at=now + LOGS_WRITTEN_AFTER if state is ChannelState.DOWN else None,
        )
        .returning(Outage.id)
    ).scalar_one()
    _put_at_risk(connection, outage_id, channel.id)


def _beginning(connection: Connection, channel: Row[Any], state: ChannelState, now: datetime) -> tuple[datetime, str]:
    """The best estimate without WaSender's own logs: the first message that was swallowed, or the last good sign."""
    if state is ChannelState.MUTE:
        counted = [Message.channel_id == channel.id, is_open("messages"), Message.state == "accepted"]
        if channel.last_tick_at is not None:
            counted.append(Message.accepted_at >= channel.last_tick_at - timedelta(seconds=channel.tick_latency_s))
        first: datetime | None = connection.execute(select(func.min(Message.accepted_at)).where(*counted)).scalar()
        return (first, "first_unticked") if first else (now, "noticed")
    if channel.state is not ChannelState.UP:
        return now, "noticed"
    signs = {"last_check": channel.checked_at, "last_tick": channel.last_tick_at}
    name, at = max(
        ((name, at) for name, at in signs.items() if at is not None), key=lambda pair: pair[1], default=("", None)
    )
    return (at, name) if at is not None else (now, "noticed")


def _close(connection: Connection, channel_id: int, *, now: datetime, source: Source) -> None:
    outage = connection.execute(
        update(Outage)
        .where(Outage.channel_id == channel_id, Outage.ended_at.is_(None))
        .values(ended_at=now, ended_by=source.value)
        .returning(Outage.id)
    ).scalar_one_or_none()
    if outage is not None:
        _put_at_risk(connection, outage, channel_id)


def _put_at_risk(connection: Connection, outage_id: int, channel_id: int) -> None:
    """Note the messages whose fate is open: at WaSender or on their way there, without a tick.

    What was in doubt before it began is open for reasons of its own.
    """
    began_at = select(Outage.began_at).where(Outage.id == outage_id).scalar_subquery()
    known = exists(
        select(OutageMessage.message_seq).where(
            OutageMessage.outage_id == outage_id, OutageMessage.message_seq == Message.seq
        )
    )
    connection.execute(
        insert_unless_there(connection, OutageMessage).from_select(
            ["outage_id", "message_seq", "state_then"],
            select(literal(outage_id), Message.seq, Message.state).where(
                Message.channel_id == channel_id,
                is_open("messages"),
                or_(Message.state != literal_column("'in_doubt'"), Message.claimed_at >= began_at),
                ~known,
            ),
        )
    )


def _restart_due(connection: Connection, channel_id: int, now: datetime) -> datetime:
    last = connection.execute(select(func.max(Outage.restarted_at)).where(Outage.channel_id == channel_id)).scalar()
    return now if last is None else max(now, last + RESTART_PAUSE)


def _restart_by(connection: Connection, outage_id: int, due_at: datetime) -> None:
    connection.execute(
        update(Outage)
        .where(Outage.id == outage_id, Outage.restart_due_at.is_(None), Outage.restarted_at.is_(None))
        .values(restart_due_at=due_at)
    )


def _alarm_by(connection: Connection, outage: Any, now: datetime, after: timedelta) -> None:
    """Another thing is wrong now. What a person has to mend is told at once, also to those who were told before."""
    if not after:
        told_anew = {"alarm_due_at": now, "alarmed_at": None}
        connection.execute(update(Outage).where(Outage.id == outage.id).values(**told_anew))
    elif outage.alarmed_at is None:
        due_at = now + after if outage.alarm_due_at is None else min(outage.alarm_due_at, now + after)
        connection.execute(update(Outage).where(Outage.id == outage.id).values(alarm_due_at=due_at))


def take_restarts(connection: Connection, *, now: datetime, most: int) -> Sequence[Any]:
    """Mute channels whose session is to be restarted, each handed out once.

    Rows: outage_id, noticed_at, channel_id, name, gateway_session_id, api_key_encrypted.
    """
    rows = connection.execute(
        select(
            *(Outage.id.label("outage_id"), Outage.noticed_at, Channel.id.label("channel_id"), Channel.name),
            *(Channel.gateway_session_id, Channel.api_key_encrypted),
        )
        .join(Channel, Channel.id == Outage.channel_id)
        .where(
            Outage.ended_at.is_(None),
            Outage.restarted_at.is_(None),
            Outage.restart_due_at <= now,
            Channel.state == ChannelState.MUTE,
        )
        .limit(most)
        .with_for_update(of=Outage, skip_locked=True)
    ).all()
    if rows:
        connection.execute(
            update(Outage).where(Outage.id.in_([row.outage_id for row in rows])).values(restarted_at=now)
        )
    return rows


def note_restart(connection: Connection, outage_id: int, result: str) -> None:
    connection.execute(update(Outage).where(Outage.id == outage_id).values(restart_result=result[:64]))


def restart_later(connection: Connection, outage_id: int, result: str, *, at: datetime) -> None:
    """WaSender could not be asked for the restart, so it is still to be asked for once."""
    connection.execute(
        update(Outage)
        .where(Outage.id == outage_id)
        .values(restarted_at=None, restart_due_at=at, restart_result=result[:64])
    )


def take_undated(connection: Connection, *, now: datetime, most: int) -> Sequence[Any]:
    """Outages whose beginning the session logs are to be asked for now, each handed out once.

    Rows: outage_id, noticed_at, last_good_at, channel_id, gateway_session_id, api_key_encrypted.
    """
    rows = connection.execute(
        select(
            *(Outage.id.label("outage_id"), Outage.noticed_at, Outage.began_at.label("last_good_at")),
            *(Channel.id.label("channel_id"), Channel.gateway_session_id, Channel.api_key_encrypted),
        )
        .join(Channel, Channel.id == Outage.channel_id)
        .where(Outage.logs_due_at <= now)
        .order_by(Outage.logs_due_at)
        .limit(most)
        .with_for_update(of=Outage, skip_locked=True)
    ).all()
    if rows:
        connection.execute(
            update(Outage).where(Outage.id.in_([row.outage_id for row in rows])).values(logs_due_at=None)
        )
    return rows


def date_later(connection: Connection, outage_id: int, *, at: datetime) -> None:
    """The session logs could not be read."""
    connection.execute(update(Outage).where(Outage.id == outage_id).values(logs_due_at=at))


def date(connection: Connection, outage_id: int, began_at: datetime) -> None:
    """WaSender's session logs tell when it began."""
    connection.execute(
        update(Outage)
        .where(and_(Outage.id == outage_id, Outage.noticed_at >= began_at))
        .values(began_at=began_at, began_by="session_logs")
    )
