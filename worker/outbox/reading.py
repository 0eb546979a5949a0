"""Reads messages back: one, many, with their attempts and events, and how much is pending on each channel."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, func, literal_column, select, text, union_all

from worker.domain.channel_state import ChannelState
from worker.domain.errors import NotFound
from worker.domain.message_status import PUBLIC_STATUS, MessageState
from worker.domain.pace import Pacing, rested
from worker.domain.pending_reason import ChannelView, PendingReason, Standing, pending_reason
from worker.models import Attempt, Channel, Event, Message
from worker.outbox.openness import recipient_waits, unacked

#: Counting the messages ahead stops here; beyond it "more than" is said.
MOST_COUNTED = 10_000
#: How many of a message's attempts and events are read back.
NEWEST = 200


@dataclass(frozen=True, kw_only=True)
class MessageView:
    """A message as people and programs see it."""

    seq: int
    id: UUID
    state: MessageState
    to: str
    recipient: str | None
    whatsapp_jid: str | None
    kind: str
    priority: str
    attempts: int
    resends: int
    duplicates: int
    attention: str | None
    gateway_msg_id: int | None
    error_code: str | None
    error_message: str | None
    due_at: datetime
    quiet_zone: str | None
    first_contact: bool
    expires_at: datetime | None
    created_at: datetime
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    crm_ref: str | None
    metadata: dict[str, Any] | None
    channel: ChannelView
    pending: PendingReason | None

    @property
    def status(self) -> str:
        """What the CRM sees."""
        return PUBLIC_STATUS[self.state]

    def as_json(self) -> dict[str, Any]:
        """The message's public form; times are ISO 8601 in UTC."""
        return {
            "id": str(self.id),
            "status": self.status,
            "state": self.state.value,
            "pending_reason": self.pending.code if self.pending else None,
            "to": self.to,
            "recipient": self.recipient,
            "whatsapp_jid": self.whatsapp_jid,
            "channel": self.channel.name,
            "kind": self.kind,
            "priority": self.priority,
            "attempts": self.attempts,
            "resends": self.resends,
            "duplicates": self.duplicates,
            "attention": self.attention,
            "gateway_msg_id": self.gateway_msg_id,
            "error": {"code": self.error_code, "message": self.error_message} if self.error_code else None,
            "send_after": _iso(self.due_at),
            "expires_at": _iso(self.expires_at),
            "created_at": _iso(self.created_at),
            "accepted_at": _iso(self.accepted_at),
            "sent_at": _iso(self.sent_at),
            "delivered_at": _iso(self.delivered_at),
            "read_at": _iso(self.read_at),
            "crm_ref": self.crm_ref,
            "metadata": self.metadata,
        }


#: Word for word the condition of the partial index.
_WAITS_FOR_A_PERSON = text("messages.attention IS NOT NULL")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which messages to list; None means any. `before_seq` continues a listing.

    `recipient` is the address as it is stored. `unreadable` finds what could not be understood, as the CRM wrote it.
    `attention`: those that wait for a person, or all others. `created_after` is the first moment that counts,
    `created_before` the first one that does not.
    """

    status: str | None = None
    channel: str | None = None
    recipient: str | None = None
    unreadable: str | None = None
    crm_ref: str | None = None
    attention: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before_seq: int | None = None


#: Built once: putting it together costs more than running it.
_SELECT: Select[Any] = select(
    *(column for column in Message.__table__.columns if column.name not in {"content", "fingerprint"}),
    Channel.name.label("channel_name"),
    Channel.state.label("channel_state"),
    Channel.reason.label("channel_reason"),
    *(Channel.next_slot_at.label("channel_next_slot_at"), Channel.rest_until),
    Channel.failures.label("channel_failures"),
    *(Channel.unacked_window, Channel.tick_latency_s, Channel.suspect_before, unacked().label("channel_unacked")),
    recipient_waits(Message).label("recipient_waits"),
    *(Channel.pace_messages, Channel.pace_seconds, Channel.slowdown),
    *(Channel.daily_cap, Channel.posts_on, Channel.posts_that_day),
).join_from(Message, Channel, Channel.id == Message.channel_id)
_BY_ID = _SELECT.where(Message.id.in_(bindparam("ids", expanding=True)))
_BY_SEQ = _SELECT.where(Message.seq.in_(bindparam("seqs", expanding=True)))


def get(connection: Connection, message_id: UUID, now: datetime) -> MessageView:
    """One message. Raises NotFound."""
    row = connection.execute(_BY_ID, {"ids": [message_id]}).one_or_none()
    if row is None:
        raise NotFound(f"There is no message {message_id}. It may not have been taken from the queue yet.")
    return _view(row, now)


def by_id(connection: Connection, ids: Collection[UUID], now: datetime) -> dict[UUID, MessageView]:
    """Many messages at once, by their ids; what does not exist is left out."""
    rows = connection.execute(_BY_ID, {"ids": list(ids)})
    return {row.id: _view(row, now) for row in rows}


def by_seq(connection: Connection, seqs: Collection[int], now: datetime) -> dict[int, MessageView]:
    """Many messages at once, by their place in the order of arrival."""
    rows = connection.execute(_BY_SEQ, {"seqs": list(seqs)})
    return {row.seq: _view(row, now) for row in rows}


#: Word for word the condition of the partial index `ix_messages_ended`, and the states that it holds.
_ENDED = text("messages.state IN ('failed', 'expired', 'cancelled')")
_ENDED_STATES = frozenset({MessageState.FAILED, MessageState.EXPIRED, MessageState.CANCELLED})
#: Messages are stored about in the order of their times: a task may have waited a minute for the database, a clock
#: may have been put right.
_OUT_OF_ORDER = timedelta(hours=1)
_FIRST_FROM = (
    select(Message.seq, Message.created_at).where(Message.seq >= bindparam("seq")).order_by(Message.seq).limit(1)
)


def list_messages(connection: Connection, filters: Filters, *, now: datetime, limit: int = 50) -> list[MessageView]:
    """The newest messages first."""
    query = _SELECT.order_by(Message.seq.desc()).limit(limit)
    if filters.status is not None:
        query = query.where(*_in_states(states_of(filters.status)))
    if filters.channel is not None:
        channel_id = connection.execute(select(Channel.id).where(Channel.name == filters.channel)).scalar()
        query = query.where(-Message.channel_id == -(channel_id or 0))  # as `ix_messages_of_channel` has it
    if filters.recipient is not None:
        query = query.where(Message.recipient == filters.recipient)
    if filters.unreadable is not None:
        query = query.where(Message.recipient.is_(None), Message.to == filters.unreadable)
    if filters.crm_ref is not None:
        query = query.where(Message.crm_ref == filters.crm_ref)
    if filters.attention is not None:
        query = query.where(_WAITS_FOR_A_PERSON if filters.attention else Message.attention.is_(None))
    if filters.created_after is not None:
        first = _first_created(connection, filters.created_after, -_OUT_OF_ORDER)
        query = query.where(Message.created_at >= filters.created_after, Message.seq >= first)
    if filters.created_before is not None:
        first = _first_created(connection, filters.created_before, _OUT_OF_ORDER)
        query = query.where(Message.created_at < filters.created_before, Message.seq < first)
    if filters.before_seq is not None:
        query = query.where(Message.seq < filters.before_seq)
    return [_view(row, now) for row in connection.execute(query)]


def _in_states(states: Collection[MessageState]) -> list[Any]:
    if len(states) == 1 and _ENDED_STATES.issuperset(states):
        return [_ENDED, Message.state == literal_column(f"'{next(iter(states)).value}'")]
    return [Message.state.in_(states)]


def _first_created(connection: Connection, at: datetime, margin: timedelta) -> int:
    """About the first message (seq) that was stored then, with a margin for what is out of order; or the next one.

    Searched by halves, some twenty probes of the primary key: an index of times would cost a write for each change of
    any message, and none of the planners could tell when to use it.
    """
    with suppress(OverflowError):  # at the ends of time
        at += margin
    low, high = 0, (connection.execute(select(func.max(Message.seq))).scalar() or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_FIRST_FROM, {"seq": middle}).first()
        if row is None or row.created_at >= at:
            high = middle
        else:
            low = row.seq + 1
    return low


def states_of(status: str) -> list[MessageState]:
    """The stored states behind a public status or a stored state's own name; empty for an unknown word."""
    return [state for state in MessageState if status in (PUBLIC_STATUS[state], state.value)]


@dataclass(frozen=True, kw_only=True)
class Log:
    """What happened to a message, in order: the newest entries, the very first one, and how many there are."""

    first: dict[str, Any] | None
    newest: list[dict[str, Any]]
    total: int


def event_log(connection: Connection, seq: int, *, newest: int = NEWEST) -> Log:
    """A message's transitions, each with its source and evidence."""
    columns = (Event.at, Event.source, Event.before, Event.after, Event.reason, Event.evidence)
    return _log(connection, select(*columns).where(Event.message_seq == seq), Event.id, newest)


def attempt_log(connection: Connection, seq: int, *, newest: int = NEWEST) -> Log:
    """A message's POSTs, each with what it proved."""
    columns = (
        *(Attempt.number, Attempt.started_at, Attempt.finished_at, Attempt.outcome, Attempt.cause),
        *(Attempt.http_status, Attempt.gateway_msg_id, Attempt.detail),
    )
    return _log(connection, select(*columns).where(Attempt.message_seq == seq), Attempt.number, newest)


def _log(connection: Connection, entries: Any, order: Any, newest: int) -> Log:
    total = connection.execute(select(func.count()).select_from(entries.subquery())).scalar_one()
    rows = [_entry(row) for row in connection.execute(entries.order_by(order.desc()).limit(newest))][::-1]
    first = rows[0] if rows and total == len(rows) else None
    if first is None and total:
        first = _entry(connection.execute(entries.order_by(order).limit(1)).one())
    return Log(first=first, newest=rows, total=total)


def _entry(row: Row[Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row._mapping.items()}


def messages_ahead(
    connection: Connection, message: MessageView, channel_id: int, now: datetime, *, since: datetime | None = None
) -> int:
    """How many messages of its channel that are due go out before this one; counting stops at `MOST_COUNTED`.

    With `since` only those count that were not due before.
    """
    rank = 0 if message.priority == "transactional" else 1
    # Each is a bounded stretch of `ix_messages_queued`; asked for in one condition, they would be the whole queue.
    stretches = [
        (Message.priority == rank, Message.due_at < message.due_at),
        (Message.priority == rank, Message.due_at == message.due_at, Message.seq < message.seq),
        *([(Message.priority == literal_column("0"),)] if rank else []),
    ]
    due = (
        Message.channel_id == channel_id,
        Message.state == literal_column("'queued'"),
        Message.due_at <= now,
        *([Message.due_at >= since] if since is not None else []),
    )
    limited = (select(Message.seq).where(*due, *stretch).limit(MOST_COUNTED).subquery() for stretch in stretches)
    counted = union_all(*(select(func.count()).select_from(some) for some in limited))
    return min(sum(connection.execute(counted).scalars()), MOST_COUNTED)


def _counted(condition: str) -> Any:
    return (
        select(Message.channel_id, Message.state, func.count().label("count"))
        .where(text(f"messages.{condition}"))
        .group_by(Message.channel_id, Message.state)
    )


#: The conditions of the partial indexes, word for word: only so does each of them answer for its states. What is
#: queued, be it a million messages, is counted in the index alone (by PostgreSQL; SQLite looks at the rows).
_BACKLOG: tuple[Any, ...] = (
    select(Message.channel_id, literal_column("'queued'", Message.state.type).label("state"), func.count())
    .where(text("messages.state = 'queued'"))
    .group_by(Message.channel_id),
    _counted("state IN ('sending', 'accepted', 'in_doubt') AND attention IS NULL"),
    _counted("attention IS NOT NULL"),
)
_ATTENTION = (
    select(Message.channel_id, func.count().label("how_many")).where(_WAITS_FOR_A_PERSON).group_by(Message.channel_id)
)


def backlog(connection: Connection, channel_ids: Collection[int] | None = None) -> dict[int, dict[MessageState, int]]:
    """How many messages are in each pending state, by channel id; of these channels, or of all."""
    counts: dict[int, dict[MessageState, int]] = {}
    for channel_id, state, count in connection.execute(union_all(*(_of(part, channel_ids) for part in _BACKLOG))):
        of_channel = counts.setdefault(channel_id, {})
        of_channel[state] = of_channel.get(state, 0) + count
    return counts


def attention_counts(connection: Connection, channel_ids: Collection[int] | None = None) -> dict[int, int]:
    """How many messages wait for a person's decision, by channel id; of these channels, or of all."""
    return {row.channel_id: row.how_many for row in connection.execute(_of(_ATTENTION, channel_ids))}


def _of(query: Any, channel_ids: Collection[int] | None) -> Any:
    return query if channel_ids is None else query.where(Message.channel_id.in_(channel_ids))


#: What a view takes from the columns of the same name.
_SAME_NAMED = MessageView.__dataclass_fields__.keys() - {"priority", "metadata", "channel", "pending"}


def _view(row: Row[Any], now: datetime) -> MessageView:
    values = row._mapping
    channel = ChannelView(
        name=row.channel_name,
        state=ChannelState(row.channel_state),
        reason=row.channel_reason,
        next_slot_at=rested(row.channel_next_slot_at, row.rest_until),
        failures=row.channel_failures,
        unacked=row.channel_unacked,
        unacked_window=row.unacked_window,
        tick_latency_s=row.tick_latency_s,
        pacing=Pacing.of(row),
    )
    return MessageView(
        **{name: values[name] for name in _SAME_NAMED},
        priority="transactional" if row.priority == 0 else "bulk",
        metadata=values["metadata"],
        channel=channel,
        pending=pending_reason(_standing(row), channel, now),
    )


def _standing(row: Row[Any]) -> Standing:
    swallowed = bool(row.accepted_at and row.suspect_before and row.accepted_at < row.suspect_before)
    return Standing(
        id=str(row.id),
        state=row.state,
        due_at=row.due_at,
        attention=row.attention,
        perhaps_swallowed=swallowed,
        recipient_waits=bool(row.recipient_waits),
        refused=row.refused_at is not None,
        held_by=row.held_by,
        quiet_zone=row.quiet_zone,
    )


def _plain(value: object) -> object:
    return _iso(value) if isinstance(value, datetime) else value


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
