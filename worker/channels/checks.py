"""Which channels are due for the question "are you connected?"."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from worker.domain.channel_state import ChannelState
from worker.models import Channel

_ASKED = (
    *(Channel.id, Channel.name, Channel.api_key_encrypted),
    *(Channel.state, Channel.reason, Channel.since, Channel.probe_at),
)


def take_due_checks(connection: Connection, *, now: datetime, again_at: datetime, most: int) -> Sequence[Any]:
    """Channels to ask about; nobody else gets them before `again_at`.

    Rows: id, name, api_key_encrypted, state, reason, since, probe_at.
    """
    rows = connection.execute(
        select(*_ASKED)
        .where(Channel.check_due_at <= now, Channel.state != ChannelState.PAUSED)
        .order_by(Channel.check_due_at)
        .limit(most)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    if rows:
        connection.execute(
            update(Channel).where(Channel.id.in_([row.id for row in rows])).values(check_due_at=again_at)
        )
    return rows


def ask_now(connection: Connection, channel_id: int, *, now: datetime) -> None:
    """This channel is due for the question. One that is due already stays as it is: a later time would look as if a
    worker had taken the question up.
    """
    is_ahead = Channel.check_due_at > now
    connection.execute(update(Channel).where(Channel.id == channel_id, is_ahead).values(check_due_at=now))


def take_one(connection: Connection, channel_id: int, *, now: datetime, again_at: datetime) -> Any:
    """The same of one channel; None if it is not due, or paused, which nobody asks about."""
    row = connection.execute(
        select(*_ASKED)
        .where(Channel.id == channel_id, Channel.check_due_at <= now, Channel.state != ChannelState.PAUSED)
        .with_for_update(key_share=True)
    ).one_or_none()
    if row is not None:
        connection.execute(update(Channel).where(Channel.id == channel_id).values(check_due_at=again_at))
    return row


def confirm(connection: Connection, rows: Collection[Any], *, now: datetime) -> set[int]:
    """WaSender said of these channels (rows of `take_due_checks`) what is known already. Returns those noted so.

    All together, for most answers bring no news. One that somebody has changed meanwhile, or is about to change, is
    left out.
    """
    kept = connection.execute(
        select(Channel.id, Channel.state, Channel.reason)
        .where(Channel.id.in_([row.id for row in rows]))
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    asked = {row.id: (row.state, row.reason) for row in rows}
    same = {row.id for row in kept if (row.state, row.reason) == asked[row.id]}
    if same:
        connection.execute(update(Channel).where(Channel.id.in_(same)).values(checked_at=now))
    return same
