"""What a channel's row knows about its webhooks: the sealed secret that they show, and when one came last."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, or_, select, update

from worker.models import Channel

#: `last_webhook_at` is this exact; writing it for each of hundreds of webhooks would wear the row out.
NOTE_EVERY = timedelta(seconds=5)


def sealed_secrets(connection: Connection) -> Sequence[Any]:
    """All channels (id, name, webhook_secret_encrypted)."""
    return connection.execute(select(Channel.id, Channel.name, Channel.webhook_secret_encrypted)).all()


def note_webhook(connection: Connection, channel_id: int, now: datetime) -> bool:
    """Note that one came. Waits for nobody: a row that a run holds just now is noted with a later webhook."""
    due = (
        select(Channel.id)
        .where(
            Channel.id == channel_id,
            or_(Channel.last_webhook_at.is_(None), Channel.last_webhook_at < now - NOTE_EVERY),
        )
        .with_for_update(skip_locked=True, key_share=True)
    )
    noted = connection.execute(
        update(Channel).where(Channel.id.in_(due.scalar_subquery())).values(last_webhook_at=now)
    )
    return noted.rowcount > 0
