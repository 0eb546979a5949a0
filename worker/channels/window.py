"""The unacknowledged window as it stands in a channel's row: it grows with ticks and begins anew after trouble."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import structlog
from sqlalchemy import Connection, bindparam, or_, select, update

from worker.domain import window as rules
from worker.domain.channel_state import ChannelState
from worker.domain.webhook_meter import STOPPED_SENTENCE, Webhooks, webhooks
from worker.domain.window import Silence
from worker.models import Channel, Message, Outage
from worker.outbox.openness import is_open
from worker.outbox.ticks import ChannelTicks

log = structlog.get_logger(__name__)

#: The columns of a channel that ticks change.
_KEPT = (
    *("ticks_by_webhook", "ticks_by_asking", "last_tick_at", "tick_latency_s"),
    *("overtaken_before", "unacked_window"),
)
_COUNTED = select(
    *(Channel.id, Channel.name, Channel.state, Channel.since, Channel.last_webhook_at),
    *(getattr(Channel, name) for name in _KEPT),
).where(Channel.id.in_(bindparam("ids", expanding=True)))
_COUNT = update(Channel).where(Channel.id == bindparam("_id")).values({name: bindparam(f"_{name}") for name in _KEPT})


def lock(connection: Connection, channel_ids: Collection[int]) -> None:
    """Take these channels' rows before any of their messages, as every transaction that needs both does.

    `key_share`, here and for messages: who stores something that refers to such a row (a foreign key) waits for
    nobody, and so cannot stand in a deadlock.
    """
    if channel_ids:
        connection.execute(
            select(Channel.id).where(Channel.id.in_(channel_ids)).order_by(Channel.id).with_for_update(key_share=True)
        )


def begin_anew(connection: Connection, channel_ids: Sequence[int]) -> None:
    """An answer was lost: one message has to be ticked before more go out."""
    if channel_ids:
        connection.execute(update(Channel).where(Channel.id.in_(channel_ids)).values(unacked_window=1))


def probed(connection: Connection, channel_id: int, *, now: datetime, ack_timeout_s: float) -> None:
    """A single message is being tried on a mute channel: the next one has to wait, longer each time."""
    probes = connection.execute(select(Channel.probes).where(Channel.id == channel_id)).scalar_one() + 1
    pause = timedelta(seconds=rules.probe_pause_s(probes, ack_timeout_s))
    connection.execute(
        update(Channel)
        .where(Channel.id == channel_id, Channel.state == ChannelState.MUTE)
        .values(probes=probes, probe_at=now + pause)
    )


def count_ticks(
    connection: Connection,
    ticks: Collection[ChannelTicks],
    *,
    now: datetime,
    most_unacked: int,
    ack_timeout_s: float,
) -> dict[int, ChannelState]:
    """Let the windows grow by the messages that were ticked for the first time. Returns the channels that have such
    messages, each with its state.

    The channels' rows have to be locked (see `lock`). All are read and written together: on a busy worker every batch
    of evidence is about many channels.
    """
    if not ticks:
        return {}
    rows = {row.id: row for row in connection.execute(_COUNTED, {"ids": [one.channel_id for one in ticks]})}
    slow = {one.channel_id for one in ticks if _was_only_slow(connection, rows[one.channel_id], one, now)}
    counted = [
        _counted(rows[one.channel_id], one, now, most_unacked, ack_timeout_s, only_slow=one.channel_id in slow)
        for one in ticks
    ]
    connection.execute(_COUNT, counted)
    return {one.channel_id: rows[one.channel_id].state for one in ticks if one.through is not None}


def _was_only_slow(connection: Connection, row: Any, ticks: ChannelTicks, now: datetime) -> bool:
    """Is this the end of a mute spell that was none: did these ticks take no longer than a slow channel's, and has
    nothing else happened to it in that time that could have held them up, or let them go?"""
    if row.state is not ChannelState.MUTE or not 0 < ticks.held_up_s <= rules.LONGEST_LATENCY_S:
        return False
    accepted_at = now - timedelta(seconds=ticks.held_up_s)
    spells = connection.execute(
        select(Outage.noticed_at, Outage.restarted_at).where(
            Outage.channel_id == row.id, or_(Outage.ended_at.is_(None), Outage.ended_at >= accepted_at)
        )
    ).all()
    return [(spell.noticed_at, spell.restarted_at) for spell in spells] == [(row.since, None)]


def _counted(
    row: Any, ticks: ChannelTicks, now: datetime, most_unacked: int, ack_timeout_s: float, *, only_slow: bool
) -> dict[str, Any]:
    """What the channel's row is to hold."""
    values: dict[str, Any] = {f"_{name}": getattr(row, name) for name in _KEPT}
    values |= {"_id": row.id, f"_{ticks.counter}": getattr(row, ticks.counter) + ticks.moved}
    if ticks.through is None:
        return values
    _warn_of_silent_webhooks(row, now)
    latency_s = row.tick_latency_s
    for sample_s in ticks.latencies_s:
        latency_s = rules.smoothed(latency_s, sample_s)
    if only_slow:  # at once and not little by little, or it would be taken for mute again
        latency_s = max(latency_s, ticks.held_up_s)
    through = max(ticks.through, ticked_through(row, ack_timeout_s) or ticks.through)
    overtaken = through - timedelta(seconds=rules.patience_s(ack_timeout_s, latency_s))
    return values | {
        "_last_tick_at": now,
        "_tick_latency_s": latency_s,
        "_overtaken_before": overtaken,
        "_unacked_window": rules.grown(row.unacked_window, ticks.first_ticks, most_unacked),
    }


def ticked_through(row: Any, ack_timeout_s: float) -> datetime | None:
    """When the latest-accepted one of the ticked messages was accepted; None before the first tick.

    `row` has overtaken_before and tick_latency_s.
    """
    return rules.ticked_through(row.overtaken_before, row.tick_latency_s, ack_timeout_s=ack_timeout_s)


def _warn_of_silent_webhooks(row: Any, now: datetime) -> None:
    """Said once, by the tick that comes too long after the last webhook."""
    before, after = webhooks(row.last_webhook_at, row.last_tick_at), webhooks(row.last_webhook_at, now)
    if after is Webhooks.STOPPED and before is not Webhooks.STOPPED:
        log.warning("webhooks_stopped", channel=row.name, advice=STOPPED_SENTENCE)


def silent_channels(connection: Connection, *, now: datetime, ack_timeout_s: float) -> list[tuple[Any, Silence]]:
    """The channels that are up and have messages overdue for a tick, each with what is known of its silence.

    Rows: id, name, unacked_window, tick_latency_s.
    """
    overdue = (
        select(Message.channel_id)
        .join(Channel, Channel.id == Message.channel_id)
        .where(
            Channel.state == ChannelState.UP,
            is_open("messages"),
            Message.state == "accepted",
            Message.accepted_at <= now - timedelta(seconds=ack_timeout_s),
        )
        .distinct()
    )
    rows = connection.execute(
        select(
            *(Channel.id, Channel.name, Channel.unacked_window, Channel.tick_latency_s, Channel.last_tick_at),
            *(Channel.suspect_before, Channel.overtaken_before),
        ).where(Channel.id.in_(overdue))
    ).all()
    if not rows:
        return []
    # Together, for when WaSender itself is in trouble, all channels fall silent. With their ids, so that PostgreSQL
    # follows the index even while its statistics know nothing yet of messages at WaSender.
    unticked = connection.execute(
        select(Message.channel_id, Message.recipient, Message.accepted_at, Message.asked_at, Message.checks)
        .where(
            *(Message.channel_id.in_([row.id for row in rows]), is_open("messages"), Message.state == "accepted"),
            Message.gateway_msg_id.is_not(None),
        )
        .order_by(Message.channel_id, Message.accepted_at)
    ).all()
    of_channel = {channel_id: list(some) for channel_id, some in groupby(unticked, key=attrgetter("channel_id"))}
    return [(row, _silence(row, of_channel.get(row.id, []), now, ack_timeout_s)) for row in rows]


def _silence(row: Any, unticked: Sequence[Any], now: datetime, ack_timeout_s: float) -> Silence:
    counts_from = max((at for at in (row.suspect_before, row.overtaken_before) if at is not None), default=None)
    counted = [message for message in unticked if counts_from is None or message.accepted_at >= counts_from]
    patience_s = rules.patience_s(ack_timeout_s, row.tick_latency_s)
    overdue_by = now - timedelta(seconds=patience_s)
    # What was accepted before a message that has been ticked says something about its recipient, not the channel.
    through = ticked_through(row, ack_timeout_s)
    in_silence = [message for message in counted if through is None or message.accepted_at > through]
    outstanding = len(counted)
    overdue = [message for message in in_silence if message.accepted_at <= overdue_by]
    if not overdue:
        return Silence(outstanding=outstanding, overdue_recipients=0, oldest_s=0, ticked_lately=True, asked=False)
    oldest = overdue[0]
    patience = timedelta(seconds=patience_s)
    return Silence(
        outstanding=outstanding,
        overdue_recipients=len({message.recipient for message in overdue}),
        oldest_s=(now - oldest.accepted_at).total_seconds(),
        ticked_lately=row.last_tick_at is not None and row.last_tick_at > overdue_by,
        asked=oldest.asked_at is not None and oldest.asked_at >= oldest.accepted_at + patience,
        tried=max(message.checks for message in overdue) >= rules.UNANSWERED_QUESTIONS,
    )
