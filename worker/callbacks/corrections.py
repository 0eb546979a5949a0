"""Has messages' present statuses told once more, to a CRM that believes something else."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, select

from worker.domain.message_status import PUBLIC_STATUS
from worker.models import Message
from worker.outbox.events import Source, event, record

#: Why there is an event although nothing changed.
TOLD_AGAIN = "told_again"


def tell_again(connection: Connection, seqs: Collection[int], *, now: datetime) -> int:
    """Put the present status of these messages at the end of the change feed: every endpoint is told of it, and who
    follows the feed reads it. Returns how many messages there were; give it some hundred at a time.
    """
    messages = connection.execute(
        select(Message.seq, Message.channel_id, Message.state)
        .where(Message.seq.in_(list(seqs)))
        .order_by(Message.seq)
        .with_for_update(key_share=True)
    ).all()
    told = [
        event(
            message_seq=row.seq,
            channel_id=row.channel_id,
            at=now,
            source=Source.OPERATOR,
            before=row.state,
            after=row.state,
            reason=TOLD_AGAIN,
        )
        | {"status": PUBLIC_STATUS[row.state]}
        for row in messages
    ]
    record(connection, told)
    return len(told)
