"""Messages whose time ran out before they could be sent."""

from datetime import datetime

from sqlalchemy import Connection, literal_column, select, update

from worker.domain.message_status import MessageState
from worker.models import Message
from worker.outbox.events import record_moves


def expire_due(connection: Connection, *, now: datetime, most: int) -> int:
    """Expire up to `most` queued messages. Returns how many; fewer than `most` means none is left."""
    due = (
        select(Message.seq)
        .where(Message.state == literal_column("'queued'"), Message.expires_at <= now)
        .order_by(Message.expires_at)
        .limit(most)
        .with_for_update(skip_locked=True, key_share=True)
    )
    rows = connection.execute(
        update(Message)
        .where(Message.seq.in_(due.scalar_subquery()), Message.state == literal_column("'queued'"))
        .values(
            state=MessageState.EXPIRED,
            error_code="expired",
            error_message="Its time (expires_at) ran out before it could be sent. Send it anew if it still matters.",
        )
        .returning(Message.seq, Message.channel_id)
    ).all()
    record_moves(connection, rows, at=now, before=MessageState.QUEUED, after=MessageState.EXPIRED, reason="expired")
    return len(rows)
