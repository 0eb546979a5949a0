"""Which channels are due for the question "are you connected?"."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from worker.domain.channel_state import ChannelState
from worker.models import Channel


def take_due_checks(connection: Connection, *, now: datetime, again_at: datetime, most: int) -> Sequence[Any]:
    """Channels to ask about (id, name, api_key_encrypted); nobody else gets them before `again_at`."""
    rows = connection.execute(
        select(Channel.id, Channel.name, Channel.api_key_encrypted)
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


def one(connection: Connection, channel_id: int) -> Any:
    """The same columns of one channel; None for a paused one, which nobody asks about."""
    return connection.execute(
        select(Channel.id, Channel.name, Channel.api_key_encrypted).where(
            Channel.id == channel_id, Channel.state != ChannelState.PAUSED
        )
    ).one_or_none()
