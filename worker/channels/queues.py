"""How long a message would wait on a channel, by what is due there; to share a pool's messages out."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, bindparam, func, literal_column, select
from sqlalchemy.orm import aliased

from worker.domain.channel_state import CONNECTED_AGAIN, ChannelState
from worker.domain.pace import Pacing, rested
from worker.models import Channel, Message

#: Counting what waits on a channel stops here, for each rank; busier channels are taken as equally busy.
MOST_COUNTED = 1000
#: The lower, the sooner a channel of this state is likely to send.
_HOPE = {
    ChannelState.UP: 0,
    ChannelState.UNKNOWN: 1,
    ChannelState.DOWN: 2,
    ChannelState.MUTE: 2,
    ChannelState.BLOCKED: 3,
    ChannelState.PAUSED: 3,
}


class Queue:
    """What waits on one channel, counted on while a batch is shared out."""

    def __init__(self, row: Any, due: Sequence[int]) -> None:
        self.channel_id: int = row.id
        self._name: str = row.name
        self._hope = _HOPE[row.state]
        linked_again = row.state is ChannelState.MUTE and row.reason == CONNECTED_AGAIN
        self._tries_again_at: datetime | None = row.probe_at if linked_again else None
        self._pacing = Pacing.of(row)
        self._next_slot_at: datetime = rested(row.next_slot_at, row.rest_until)
        self._due = list(due)

    def join(self, rank: int) -> None:
        self._due[rank] += 1

    def worth(self, recipient: str | None, rank: int, now: datetime) -> tuple[int, datetime, int]:
        """The lower, the better. Equally busy channels share strangers out by their numbers, always in one way."""
        goes_at = self._pacing.slot_in_turn(max(now, self._next_slot_at), sum(self._due[: rank + 1]))
        return self._hope_at(now), goes_at, crc32(f"{self._name}:{recipient}".encode())

    def _hope_at(self, now: datetime) -> int:
        """A channel whose session was linked again comes up by a tick only, so one message has to try it."""
        tries = self._tries_again_at is not None and self._tries_again_at <= now and not any(self._due)
        return _HOPE[ChannelState.UP] if tries else self._hope


def queues_of(connection: Connection, rows: Iterable[Any], *, now: datetime) -> dict[int, Queue]:
    """What is due on each of these channels, by rank; bounded, however much that is."""
    by_id = {row.id: row for row in rows}
    if not by_id:
        return {}
    counts = connection.execute(_DUE, {"ids": list(by_id), "now": now})
    return {row.id: Queue(by_id[row.id], (row.transactional, row.bulk)) for row in counts}


def _due(rank: int) -> Any:
    waiting = aliased(Message, name="waiting")
    some = (
        select(literal_column("1"))
        .select_from(waiting)
        .where(
            waiting.channel_id == Channel.id,
            waiting.state == literal_column("'queued'"),
            waiting.priority == literal_column(str(rank)),
            waiting.due_at <= bindparam("now"),
        )
        # In the order of the index: without it PostgreSQL reads the table where it takes most of it for queued.
        .order_by(waiting.due_at, waiting.seq)
        .limit(MOST_COUNTED)
        .correlate(Channel)
        .subquery(f"due_{rank}")
    )
    return select(func.count()).select_from(some).correlate(Channel).scalar_subquery()


_DUE = select(Channel.id, _due(0).label("transactional"), _due(1).label("bulk")).where(
    Channel.id.in_(bindparam("ids", expanding=True))
)


def shortest(queues: Iterable[Queue], recipient: str | None, rank: int, now: datetime) -> int:
    """The channel where a message should go out first: up before unknown before down, and then by what waits."""
    return min(queues, key=lambda queue: queue.worth(recipient, rank, now)).channel_id
