"""What the database tells a diagnosis, read in one bounded look: channels and their evidence, refusals, outages."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select, text

from worker.channels import overview, registry, window
from worker.channels.overview import ChannelStanding
from worker.database import snapshot
from worker.domain.window import Silence
from worker.models import Channel, Message, Outage
from worker.outbox.events import Source
from worker.parts import Parts
from worker.readiness import require_ready

#: No single question may take longer.
STATEMENT_TIMEOUT_MS = 3000
#: How many of the newest messages tell whether numbers are understood, and how far back at the most.
NEWEST, LATELY = 2000, timedelta(days=1)
#: How a tick is learnt. Any other end of an outage rests on the word of `GET /status`, whoever asked for it.
_BY_TICK = frozenset({Source.INFO.value, Source.WEBHOOK.value})


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """What is stored about one channel."""

    standing: ChannelStanding
    #: Its row (columns of `Channel.__table__`).
    row: Row[Any]
    #: What is overdue for a tick; None where nothing is.
    silence: Silence | None
    #: When the latest message was handed over (or the channel came up) of which a tick proves that it went out since
    #: the channel came up; None where no tick does.
    proven_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DatabaseLook:
    now: datetime
    #: By how much the database's clock is ahead of this process's; None where they are one.
    skew_s: float | None
    backend: str
    took_s: float
    channels: Sequence[ChannelFacts]
    #: Of the newest messages: how many there are, since when, and how many failed for which reason.
    newest: int
    newest_since: datetime | None
    refused: Mapping[str, int]
    #: Open outages by the name of their channel: the noticed state and when it began.
    outages: Mapping[str, tuple[str, datetime]]


def look(parts: Parts) -> DatabaseLook:
    """Raises DatabaseNotReady, and what a database raises that goes away meanwhile."""
    begun = time.monotonic()
    require_ready(parts.engine)
    with snapshot(parts.engine) as connection:
        skew_s = _bound(connection)
        now = parts.clock()
        newest, newest_since, refused = _refusals(connection, now)
        return DatabaseLook(
            now=now,
            skew_s=skew_s,
            backend=connection.dialect.name,
            channels=_channels(connection, parts, now),
            newest=newest,
            newest_since=newest_since,
            refused=refused,
            outages=_open_outages(connection),
            took_s=time.monotonic() - begun,
        )


def _bound(connection: Connection) -> float | None:
    """Let no question of this transaction take long. Returns how far ahead the server's clock is."""
    if connection.dialect.name != "postgresql":
        return None
    connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS:d}"))
    before = time.time()
    told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return told.timestamp() - (before + time.time()) / 2


def _channels(connection: Connection, parts: Parts, now: datetime) -> list[ChannelFacts]:
    settings = parts.settings
    standings = overview.standings(connection, now=now, check_interval_s=settings.check_interval_s)
    rows = {row.id: row for row in registry.all_channels(connection)}
    silent = {
        row.id: silence
        for row, silence in window.silent_channels(connection, now=now, ack_timeout_s=settings.ack_timeout_s)
    }
    ends = _ends_by_tick(connection)
    return [
        ChannelFacts(
            standing=standing,
            row=rows[standing.id],
            silence=silent.get(standing.id),
            proven_at=_proven_at(rows[standing.id], ends.get(standing.id), settings.ack_timeout_s),
        )
        for standing in standings
        if standing.id in rows
    ]


def _proven_at(row: Row[Any], ended_by_tick_at: datetime | None, ack_timeout_s: float) -> datetime | None:
    """A tick of a message from before an outage proves nothing of the time after it, unless it ended that outage."""
    through = window.ticked_through(row, ack_timeout_s)
    if through is not None and through >= row.since:
        return through
    return ended_by_tick_at if ended_by_tick_at == row.since else None


def _ends_by_tick(connection: Connection) -> dict[int, datetime]:
    """When the latest outage of each channel ended, if a tick ended it."""
    latest = (
        select(Outage.id)
        .where(Outage.channel_id == Channel.id)
        .order_by(Outage.id.desc())
        .limit(1)
        .correlate(Channel)
        .scalar_subquery()
    )
    rows = connection.execute(select(Channel.id, Outage.ended_at, Outage.ended_by).join(Outage, Outage.id == latest))
    return {row.id: row.ended_at for row in rows if row.ended_at is not None and row.ended_by in _BY_TICK}


def _refusals(connection: Connection, now: datetime) -> tuple[int, datetime | None, dict[str, int]]:
    """One walk along the end of the table, however long it is."""
    newest = (
        select(Message.created_at, Message.state, Message.error_code)
        .order_by(Message.seq.desc())
        .limit(NEWEST)
        .subquery()
    )
    rows = connection.execute(
        select(newest.c.state, newest.c.error_code, func.count(), func.min(newest.c.created_at))
        .where(newest.c.created_at >= now - LATELY)
        .group_by(newest.c.state, newest.c.error_code)
    ).all()
    refused: dict[str, int] = {}
    for state, code, count, _ in rows:
        if state == "failed" and code:
            refused[code] = refused.get(code, 0) + count
    return sum(row[2] for row in rows), min((row[3] for row in rows), default=None), refused


def _open_outages(connection: Connection) -> dict[str, tuple[str, datetime]]:
    rows = connection.execute(
        select(Channel.name, Outage.state, Outage.began_at)
        .join(Channel, Channel.id == Outage.channel_id)
        .where(Outage.ended_at.is_(None))
        .order_by(Outage.began_at)
    )
    return {row.name: (row.state.value, row.began_at) for row in rows}
