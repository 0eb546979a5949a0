"""Reads outages back, for people and programs: how each began, was noticed and ended, and what became of the messages
that were at risk. Writes nothing: `worker.channels.outages` opens and closes them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, case, func, select

from worker.channels import registry
from worker.domain.channel_state import ChannelState, remedy
from worker.domain.errors import NotFound
from worker.domain.message_status import PUBLIC_STATUS, TICKED_STATES, MessageState
from worker.domain.phone import mask_recipient
from worker.models import Channel, Message, Outage, OutageMessage

#: Of one outage, how many messages at risk are listed.
MOST_LISTED = 1000

_UNRESOLVED = (MessageState.SENDING, MessageState.ACCEPTED, MessageState.IN_DOUBT)


@dataclass(frozen=True, kw_only=True)
class AtRisk:
    """How many messages were at risk in one outage, by their state now; and how many of them were sent again on their
    policy, reached somebody twice, or wait for a person. `duplicates` counts copies too many, the others messages."""

    by_state: dict[MessageState, int] = field(default_factory=dict)
    resent: int = 0
    duplicates: int = 0
    attention: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    @property
    def ticked(self) -> int:
        return sum(self.by_state.get(state, 0) for state in TICKED_STATES)

    @property
    def unresolved(self) -> int:
        """Those of which nobody knows yet whether WhatsApp has them."""
        return sum(self.by_state.get(state, 0) for state in _UNRESOLVED)

    def as_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "ticked": self.ticked,
            "unresolved": self.unresolved,
            "by_state": {state.value: self.by_state[state] for state in MessageState if state in self.by_state},
            "resent": self.resent,
            "duplicates": self.duplicates,
            "attention": self.attention,
        }


@dataclass(frozen=True, kw_only=True)
class OutageView:
    """One outage as people and programs see it. `duration` runs to the moment of reading while it lasts."""

    id: int
    channel: str
    #: As it was noticed; the channel itself may have moved on since.
    state: ChannelState
    reason: str
    began_at: datetime
    began_by: str
    noticed_at: datetime
    noticed_by: str
    ended_at: datetime | None
    ended_by: str | None
    duration: timedelta
    alarm_due_at: datetime | None
    alarmed_at: datetime | None
    restarted_at: datetime | None
    restart_result: str | None
    at_risk: AtRisk
    #: What a person should do about the channel as it is now; None once the outage is over.
    action: str | None

    @property
    def open(self) -> bool:
        return self.ended_at is None

    @property
    def noticing(self) -> timedelta:
        """How long it took to notice; never negative, for the beginning is an estimate."""
        return max(timedelta(0), self.noticed_at - self.began_at)

    def as_json(self) -> dict[str, Any]:
        """Times are ISO 8601 in UTC, durations are seconds."""
        return {
            "id": self.id,
            "channel": self.channel,
            "state": self.state.value,
            "reason": self.reason,
            "open": self.open,
            "began_at": _iso(self.began_at),
            "began_by": self.began_by,
            "noticed_at": _iso(self.noticed_at),
            "noticed_by": self.noticed_by,
            "noticed_after_s": self.noticing.total_seconds(),
            "ended_at": _iso(self.ended_at),
            "ended_by": self.ended_by,
            "duration_s": self.duration.total_seconds(),
            "alarmed_at": _iso(self.alarmed_at),
            "restarted_at": _iso(self.restarted_at),
            "restart_result": self.restart_result,
            "at_risk": self.at_risk.as_json(),
            "action": self.action,
        }


@dataclass(frozen=True, kw_only=True)
class MessageAtRisk:
    """One message that an outage endangered: its state when that was found, and how it stands now."""

    id: UUID
    #: Masked: enough to recognise, too little to call.
    recipient: str
    state_then: MessageState
    state: MessageState
    resends: int
    duplicates: int
    attention: str | None

    @property
    def status(self) -> str:
        """What the CRM sees."""
        return PUBLIC_STATUS[self.state]

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "recipient": self.recipient,
            "state_then": self.state_then.value,
            "status": self.status,
            "state": self.state.value,
            "resends": self.resends,
            "duplicates": self.duplicates,
            "attention": self.attention,
        }


def list_outages(
    connection: Connection, *, now: datetime, channel: str | None = None, open_only: bool = False, limit: int = 50
) -> list[OutageView]:
    """The newest first. Raises NotFound for a channel that there is not."""
    query = _select().order_by(Outage.id.desc()).limit(limit)
    if channel is not None:
        query = query.where(Outage.channel_id == registry.channel_id(connection, channel))
    if open_only:
        query = query.where(Outage.ended_at.is_(None))
    rows = connection.execute(query).all()
    counts = at_risk(connection, [row.id for row in rows])
    return [_view(row, counts[row.id], now) for row in rows]


def get(connection: Connection, outage_id: int, *, now: datetime) -> OutageView:
    """One outage. Raises NotFound."""
    row = connection.execute(_select().where(Outage.id == outage_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no outage {outage_id}. List them with: truetick outages", code="unknown_outage")
    return _view(row, at_risk(connection, [outage_id])[outage_id], now)


def messages_at_risk(connection: Connection, outage_id: int, *, limit: int = MOST_LISTED) -> list[MessageAtRisk]:
    """The messages that an outage endangered, in the order of their arrival."""
    query = (
        select(
            *(Message.id, Message.recipient, Message.state, OutageMessage.state_then),
            *(Message.resends, Message.duplicates, Message.attention),
        )
        .join_from(OutageMessage, Message, Message.seq == OutageMessage.message_seq)
        .where(OutageMessage.outage_id == outage_id)
        .order_by(OutageMessage.message_seq)
        .limit(limit)
    )
    return [
        MessageAtRisk(**{**row._mapping, "recipient": mask_recipient(row.recipient)})
        for row in connection.execute(query)
    ]


def at_risk(connection: Connection, outage_ids: Collection[int]) -> dict[int, AtRisk]:
    """What became of the messages of each of these outages."""
    query = (
        select(
            OutageMessage.outage_id,
            Message.state,
            func.count().label("messages"),
            func.sum(case((Message.resends > 0, 1), else_=0)).label("resent"),
            func.sum(Message.duplicates).label("duplicates"),
            func.count(Message.attention).label("attention"),
        )
        .join_from(OutageMessage, Message, Message.seq == OutageMessage.message_seq)
        .where(OutageMessage.outage_id.in_(outage_ids))
        .group_by(OutageMessage.outage_id, Message.state)
    )
    by_outage: dict[int, list[Row[Any]]] = {outage_id: [] for outage_id in outage_ids}
    for row in connection.execute(query):
        by_outage[row.outage_id].append(row)
    return {
        outage_id: AtRisk(
            by_state={row.state: row.messages for row in rows},
            resent=sum(row.resent for row in rows),
            duplicates=sum(row.duplicates for row in rows),
            attention=sum(row.attention for row in rows),
        )
        for outage_id, rows in by_outage.items()
    }


def _select() -> Select[Any]:
    return select(
        Outage.__table__,
        Channel.name.label("channel"),
        Channel.state.label("channel_state"),
        Channel.reason.label("channel_reason"),
    ).join_from(Outage, Channel, Channel.id == Outage.channel_id)


def _view(row: Row[Any], counts: AtRisk, now: datetime) -> OutageView:
    values = row._mapping
    same_named = set(OutageView.__dataclass_fields__) & set(values.keys())
    return OutageView(
        **{name: values[name] for name in same_named},
        duration=max(timedelta(0), (row.ended_at or now) - row.began_at),
        at_risk=counts,
        action=None if row.ended_at else remedy(row.channel_state, row.channel_reason, row.channel),
    )


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
