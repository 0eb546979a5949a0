"""Messages that may go out on another channel, and how they are put there: never attempted, nothing binding them.

All that is queued for a recipient on a channel moves together or not at all, so that nothing gets out of order.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, exists, func, literal_column, or_, select, update
from sqlalchemy.orm import aliased

from worker.domain.message_status import MessageState
from worker.models import Channel, Message
from worker.outbox import first_contacts
from worker.outbox.events import Source, event, record
from worker.outbox.openness import is_open

REASON = "failed_over"
#: More than this for one recipient stays where it is: it could only move in parts, and so get out of order.
MOST_TOGETHER = 1000
#: So many due messages are looked at; whoever stands behind as many that are bound has to wait until they are not.
MOST_LOOKED_AT = 1000

#: A queued message that was never handed to WaSender, as far as anybody knows, and may go out elsewhere.
_movable = and_(Message.failover, Message.attempts == 0, Message.doubts == 0)
_REDIRECT = (
    update(Message)
    .where(Message.seq == bindparam("_seq"))
    .values(channel_id=bindparam("_channel_id"), first_contact=bindparam("_first_contact"))
)


def _may_move(alias: str) -> Any:
    """Word for word the condition of the partial index `ix_messages_failover`, so that it answers."""
    return literal_column(f"({alias}.state = 'queued' AND {alias}.failover)")


def anything_due() -> Any:
    """Has a channel (a row of `Channel`) a message, due at `:now`, for which another one may stand in? At most two
    probes."""
    return or_(*(_due_of_rank(rank) for rank in (0, 1)))


def _due_of_rank(rank: int) -> Any:
    waiting = aliased(Message, name="waiting")
    return exists(
        select(literal_column("1"))
        .select_from(waiting)
        .where(
            waiting.channel_id == Channel.id,
            _may_move("waiting"),
            waiting.priority == literal_column(str(rank)),
            waiting.due_at <= bindparam("now"),
        )
        .correlate(Channel)
    )


def free_recipients(connection: Connection, channel_id: int, *, now: datetime, most: int) -> list[str]:
    """Recipients of due messages all of whose queue here may move, the most urgent first: about `most` messages."""
    urgent = _urgent(connection, channel_id, now)
    counted = select(
        *(Message.recipient, func.count().label("queued"), func.sum(case((_movable, 0), else_=1)).label("fixed"))
    ).where(*_queued(channel_id, urgent))
    sizes = {row.recipient: row for row in connection.execute(counted.group_by(Message.recipient))}
    free: list[str] = []
    together = 0
    for recipient in urgent:
        size = sizes.get(recipient)
        if size is None or size.fixed or size.queued > MOST_TOGETHER:
            continue
        if free and together + size.queued > most:
            break
        free.append(recipient)
        together += size.queued
    return free


def _urgent(connection: Connection, channel_id: int, now: datetime) -> list[str]:
    """Recipients of due messages that may move, the most urgent first, none of whose earlier ones is open here."""
    waiting = aliased(Message, name="waiting")
    due = (
        select(waiting.recipient, waiting.priority, waiting.due_at, waiting.seq)
        .where(waiting.channel_id == channel_id, _may_move("waiting"), waiting.due_at <= now)
        .order_by(waiting.priority, waiting.due_at, waiting.seq)
        .limit(MOST_LOOKED_AT)
    )
    recipients = list(dict.fromkeys(row.recipient for row in connection.execute(due) if row.recipient))
    bound = _with_open(connection, channel_id, recipients)
    return [recipient for recipient in recipients if recipient not in bound]


def _with_open(connection: Connection, channel_id: int, recipients: Collection[str]) -> set[str | None]:
    """Those of these recipients who have a message on this channel whose fate is open."""
    return set(
        connection.execute(
            select(Message.recipient).where(
                Message.channel_id == channel_id, Message.recipient.in_(recipients), is_open("messages")
            )
        ).scalars()
    )


def _queued(channel_id: int, recipients: Collection[str]) -> tuple[Any, ...]:
    """What is queued for these, by the index of recipients: the `+ 0` keeps SQLite from reading the whole queue."""
    return (
        Message.channel_id + 0 == channel_id,
        Message.recipient.in_(recipients),
        Message.state == literal_column("'queued'"),
    )


def lock_queues(connection: Connection, channel_id: int, recipients: Collection[str]) -> dict[str, list[Any]]:
    """What is queued here for each of these recipients, if still nothing binds it: locked, in the order of arrival.

    Rows: seq, recipient, priority. The channel's row has to be locked, so that nobody claims meanwhile.
    """
    rows = connection.execute(
        select(Message.seq, Message.recipient, Message.priority, _movable.label("movable"))
        .where(*_queued(channel_id, recipients))
        .order_by(Message.seq)
        .with_for_update(key_share=True)
    ).all()
    bound = _with_open(connection, channel_id, recipients) | {row.recipient for row in rows if not row.movable}
    queues: dict[str, list[Any]] = {}
    for row in rows:
        if row.recipient is not None and row.recipient not in bound:
            queues.setdefault(row.recipient, []).append(row)
    return queues


def redirect(
    connection: Connection,
    queues: Mapping[str, Sequence[Any]],
    targets: Mapping[str, int],
    names: Mapping[int, str],
    *,
    left: str,
    now: datetime,
) -> int:
    """Put what is queued for each recipient (see `lock_queues`) on the channel that takes it. Returns how many moved.

    `names` are those of the channels, `left` that of the one that they leave.
    """
    moved: list[dict[str, Any]] = [
        {"seq": row.seq, "recipient": recipient, "channel_id": target, "first_contact": False}
        for recipient, target in targets.items()
        for row in queues[recipient]
    ]
    if not moved:
        return 0
    first_contacts.mark(connection, moved)
    values = ("seq", "channel_id", "first_contact")
    connection.execute(_REDIRECT, [{f"_{name}": row[name] for name in values} for row in moved])
    record(connection, [_event(row, left, names[row["channel_id"]], now) for row in moved])
    return len(moved)


def _event(row: Mapping[str, Any], left: str, taken_by: str, now: datetime) -> dict[str, Any]:
    return event(
        message_seq=row["seq"],
        channel_id=row["channel_id"],
        at=now,
        source=Source.WORKER,
        before=MessageState.QUEUED,
        after=MessageState.QUEUED,
        reason=REASON,
        evidence={"from": left, "to": taken_by},
    )
