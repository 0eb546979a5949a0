"""Gathers the evidence of a run: from Truetick's database, the sandbox's records, the broker, and what was done."""

import base64
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import redis
from sqlalchemy import Connection, func, select, text

from tests.chaos.evidence import Disturbance, Evidence, Mute, Offer, Outage, Step, Stored
from tests.chaos.place import IN_FLIGHT, WINDOW, Place
from worker.database import snapshot
from worker.domain.message_status import MessageState
from worker.models import Channel, Event, Message, OutageMessage
from worker.models import Outage as OutageRow

_UNFINISHED = select(func.count()).where(
    Message.state.in_((MessageState.QUEUED, MessageState.SENDING))
    | (Message.state.in_((MessageState.ACCEPTED, MessageState.IN_DOUBT)) & Message.attention.is_(None))
)


def stored_so_far(place: Place) -> int:
    with snapshot(place.engine) as connection:
        return connection.execute(select(func.count()).select_from(Message)).scalar_one()


def unfinished(place: Place) -> int:
    """Messages about which Truetick still has something to do."""
    with snapshot(place.engine) as connection:
        return connection.execute(_UNFINISHED).scalar_one()


def gather(
    place: Place,
    *,
    offers: Sequence[Offer],
    mutes: Sequence[Mute],
    flushed_at: Sequence[float],
    hostile_answers: Sequence[int],
    died: Sequence[str],
    disturbances: Sequence[Disturbance],
    notice_within_s: float,
) -> Evidence:
    # In the order in which a message goes its way, so that what moves meanwhile is seen further on, not missed.
    in_broker = still_in_broker(place.broker.client)
    with snapshot(place.engine) as connection:
        if place.setup.database == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        messages, steps, outages = _messages(connection), _steps(connection), _outages(connection)
    with place.sandbox() as sandbox:
        ledger, rate_violations = sandbox.ledger(), sandbox.rate_violations()
    return Evidence(
        messages=messages,
        steps=steps,
        ledger=ledger,
        rate_violations=rate_violations,
        offers=offers,
        flushed_at=flushed_at,
        in_broker=in_broker - {message.id for message in messages},
        mutes=mutes,
        outages=outages,
        hostile_answers=hostile_answers,
        died=died,
        most_at_risk=WINDOW + IN_FLIGHT,
        disturbances=disturbances,
        notice_within_s=notice_within_s,
    )


def still_in_broker(client: redis.Redis) -> frozenset[UUID]:
    """Message ids of the tasks that wait in the broker, or were handed to a worker that has not said done."""
    waiting: list[bytes] = client.lrange("celery", 0, -1)  # type: ignore[assignment]
    handed_out: list[bytes] = client.hvals("unacked")  # type: ignore[assignment]
    tasks = [json.loads(raw) for raw in waiting] + [json.loads(raw)[0] for raw in handed_out]
    return frozenset(
        UUID(json.loads(base64.b64decode(task["body"]))[1]["message_id"])
        for task in tasks
        if task["headers"]["task"] == "truetick.send_message"
    )


def _messages(connection: Connection) -> list[Stored]:
    committed = _committed(connection)
    rows = connection.execute(
        select(Message.__table__, Channel.name.label("channel"))
        .join(Channel, Channel.id == Message.channel_id)
        .order_by(Message.seq)
    ).all()
    return [
        Stored(
            seq=row.seq,
            id=row.id,
            channel=row.channel,
            recipient=row.recipient,
            rank=row.priority,
            due_at=row.due_at.timestamp(),
            text=row.content.get("text", ""),
            state=row.state.value,
            error_code=row.error_code,
            attention=row.attention,
            resends=row.resends,
            committed_at=committed.get(row.seq),
        )
        for row in rows
    ]


def _committed(connection: Connection) -> dict[int, float]:
    """When the storing of each message was committed; only PostgreSQL tells."""
    if connection.dialect.name != "postgresql":
        return {}
    asked = text(
        "SELECT message_seq, pg_xact_commit_timestamp(xmin) AS at FROM events"
        " WHERE before IS NULL AND message_seq IS NOT NULL"
    )
    return {row.message_seq: _seconds(row.at) for row in connection.execute(asked) if row.at is not None}


def _steps(connection: Connection) -> list[Step]:
    columns = (Event.id, Event.message_seq, Event.at, Event.source, Event.before, Event.after, Event.reason)
    rows = connection.execute(select(*columns).where(Event.message_seq.is_not(None)).order_by(Event.id)).all()
    return [
        Step(
            id=row.id,
            seq=row.message_seq,
            at=_seconds(row.at),
            source=row.source,
            before=row.before,
            after=row.after,
            reason=row.reason,
        )
        for row in rows
    ]


def _outages(connection: Connection) -> list[Outage]:
    at_risk: defaultdict[int, set[int]] = defaultdict(set)
    for outage_id, seq in connection.execute(select(OutageMessage.outage_id, OutageMessage.message_seq)):
        at_risk[outage_id].add(seq)
    rows = connection.execute(
        select(OutageRow.__table__, Channel.name.label("channel"))
        .join(Channel, Channel.id == OutageRow.channel_id)
        .order_by(OutageRow.id)
    ).all()
    return [
        Outage(
            channel=row.channel,
            state=row.state.value,
            began_at=_seconds(row.began_at),
            noticed_at=_seconds(row.noticed_at),
            ended_at=_seconds(row.ended_at) if row.ended_at else None,
            at_risk=frozenset(at_risk[row.id]),
        )
        for row in rows
    ]


def _seconds(at: datetime) -> float:
    return at.timestamp()
