"""How every channel stands, for people and programs: state, how fresh that is, backlog, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from worker.channels import registry
from worker.domain.channel_state import ChannelState, lacks_key, remedy
from worker.domain.message_status import MessageState
from worker.domain.pace import Pacing, rested
from worker.domain.pending_reason import ChannelView
from worker.domain.webhook_meter import STOPPED_SENTENCE, Webhooks, webhooks
from worker.outbox import first_contacts
from worker.outbox.reading import attention_counts, backlog

#: A state that nobody confirmed for this many check intervals is no longer vouched for.
FRESH_INTERVALS = 3

#: What a channel is called that was up when somebody last knew.
UNVERIFIED = "unverified"

_NOBODY_ASKS = "No worker has asked WaSender about it lately. Start a worker and beat (truetick up)."
_NO_ANSWER = "WaSender could not be asked about it lately. Check the network and WASENDER_BASE_URL."


@dataclass(frozen=True, kw_only=True)
class ChannelStanding:
    """One channel. `verified` is False when the state rests on an answer of WaSender that is too old to trust."""

    id: int
    name: str
    state: ChannelState
    reason: str
    since: datetime
    checked_at: datetime | None
    verified: bool
    #: All messages that the CRM sees as pending, and those among them that WaSender took and WhatsApp has not ticked.
    pending: int
    unacked: int
    in_doubt: int
    #: Those that wait for a person's decision.
    attention: int
    #: How many messages may be without a tick at present.
    unacked_window: int
    pacing: Pacing
    #: POSTs of the present day (UTC); they count for the daily cap, if there is one.
    posts_today: int
    #: People written to for the first time: how many may be in one day (None: any number), how many were today.
    first_contact_cap: int | None
    first_contacts_today: int
    #: What a person should do; None when all is well.
    action: str | None
    #: What is to be said of a channel that is up: what holds up sending, or slows it down.
    note: str | None
    #: Sending rests: trouble at WaSender, its wish that we wait, or the daily cap.
    held_up: bool
    #: How transitions were learnt so far, and whether webhooks still come.
    ticks_by_webhook: int
    ticks_by_asking: int
    last_tick_at: datetime | None
    last_webhook_at: datetime | None
    webhooks: Webhooks
    #: Channels of one pool may stand in for each other; None: it stands alone.
    pool: str | None

    @property
    def has_key(self) -> bool:
        """Has it a key to send with? A worker found out, for keys may stand in the worker's environment alone."""
        return not lacks_key(self.state, self.reason)

    @property
    def unused(self) -> bool:
        """It has no key, and nothing waits for one: that is nobody's trouble, and it counts nowhere."""
        return not self.has_key and not self.pending

    @property
    def shown_state(self) -> str:
        """The state for whoever reads no further: a channel is never called up by evidence that is old."""
        return UNVERIFIED if self.state is ChannelState.UP and not self.verified else self.state.value

    @property
    def sends(self) -> bool:
        """It can send, as far as fresh evidence tells."""
        return self.state is ChannelState.UP and self.verified

    @property
    def flowing(self) -> bool:
        """It can send, and its latest attempts give no reason to doubt that messages go out."""
        return self.sends and not self.held_up

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pool": self.pool,
            "state": self.shown_state,
            "last_known_state": self.state.value,
            "reason": self.reason,
            "since": _iso(self.since),
            "checked_at": _iso(self.checked_at),
            "verified": self.verified,
            "verified_at": _iso(self.checked_at),
            "flowing": self.flowing,
            "pending": self.pending,
            "unacked": self.unacked,
            "in_doubt": self.in_doubt,
            "attention": self.attention,
            "unacked_window": self.unacked_window,
            "last_tick_at": _iso(self.last_tick_at),
            "ticks_by_webhook": self.ticks_by_webhook,
            "ticks_by_asking": self.ticks_by_asking,
            "webhooks": self.webhooks.value,
            "last_webhook_at": _iso(self.last_webhook_at),
            "pace": str(self.pacing.pace),
            "slowdown": round(self.pacing.slowdown, 2),
            "daily_cap": self.pacing.daily_cap,
            "posts_today": self.posts_today,
            "first_contact_cap": self.first_contact_cap,
            "first_contacts_today": self.first_contacts_today,
            "action": self.action,
            "note": self.note,
        }


def standings(
    connection: Connection, *, now: datetime, check_interval_s: float, only: str | None = None
) -> list[ChannelStanding]:
    """Every channel, by name, or the only one that is asked for: to count all queues takes a while."""
    rows = [row for row in registry.all_channels(connection) if only in (None, row.name)]
    ids = None if only is None else [row.id for row in rows]
    counts, attention = backlog(connection, ids), attention_counts(connection, ids)
    fresh_since = now - timedelta(seconds=check_interval_s * FRESH_INTERVALS)
    return [_standing(row, counts.get(row.id, {}), attention.get(row.id, 0), fresh_since, now) for row in rows]


def as_json(channels: Sequence[ChannelStanding]) -> dict[str, Any]:
    """The answer of `GET /api/whatsapp/status` and of `truetick status --json`."""
    return {
        "channels": [channel.as_json() for channel in channels],
        "all_up": all_up(channels),
        "all_flowing": all_flowing(channels),
        "pending": sum(channel.pending for channel in channels),
        "unacked": sum(channel.unacked for channel in channels),
        "in_doubt": sum(channel.in_doubt for channel in channels),
        "attention": sum(channel.attention for channel in channels),
    }


def all_up(channels: Sequence[ChannelStanding]) -> bool:
    """Can every channel send that is used? False when there is none."""
    used = [channel for channel in channels if not channel.unused]
    return bool(used) and all(channel.sends for channel in used)


def all_flowing(channels: Sequence[ChannelStanding]) -> bool:
    """Do messages go out on every channel that is used? False when there is none."""
    used = [channel for channel in channels if not channel.unused]
    return bool(used) and all(channel.flowing for channel in used)


def _standing(
    row: Any, counts: dict[MessageState, int], attention: int, fresh_since: datetime, now: datetime
) -> ChannelStanding:
    verified = row.checked_at is not None and row.checked_at >= fresh_since
    pacing = Pacing.of(row)
    held_up = _held_up(row, counts.get(MessageState.QUEUED, 0), now)
    return ChannelStanding(
        id=row.id,
        name=row.name,
        state=row.state,
        reason=row.reason,
        since=row.since,
        checked_at=row.checked_at,
        verified=verified,
        pending=sum(counts.values()),
        unacked=counts.get(MessageState.ACCEPTED, 0),
        in_doubt=counts.get(MessageState.IN_DOUBT, 0),
        attention=attention,
        unacked_window=row.unacked_window,
        pacing=pacing,
        posts_today=pacing.posts_on_day_of(now),
        first_contact_cap=row.first_contact_cap,
        first_contacts_today=first_contacts.used(row, now),
        action=_action(row, verified, fresh_since),
        note=_note(row, held_up),
        held_up=held_up is not None,
        ticks_by_webhook=row.ticks_by_webhook,
        ticks_by_asking=row.ticks_by_asking,
        last_tick_at=row.last_tick_at,
        last_webhook_at=row.last_webhook_at,
        webhooks=webhooks(row.last_webhook_at, row.last_tick_at),
        pool=row.pool,
    )


def _held_up(row: Any, queued: int, now: datetime) -> str | None:
    """Why nothing goes out for a while although the channel is up."""
    if row.state is not ChannelState.UP:
        return None
    rests, slot = _view(row).rests(now), rested(row.next_slot_at, row.rest_until)
    if rests is None and row.failures and (queued or slot > now):
        attempts = "one attempt" if row.failures == 1 else f"{row.failures} attempts in a row"
        again = f"at {slot:%H:%M:%S} UTC" if slot > now else "at once"
        return f"WaSender is not answering well ({attempts}); next try {again}."
    return rests.sentence if rests else None


def _note(row: Any, held_up: str | None) -> str | None:
    slowness = _view(row).slowness if row.state is ChannelState.UP else None
    stopped = webhooks(row.last_webhook_at, row.last_tick_at) is Webhooks.STOPPED
    said = (held_up, slowness, STOPPED_SENTENCE if stopped else None)
    return " ".join(filter(None, said)) or None


def _view(row: Any) -> ChannelView:
    return ChannelView(
        name=row.name,
        state=row.state,
        reason=row.reason,
        next_slot_at=rested(row.next_slot_at, row.rest_until),
        failures=row.failures,
        pacing=Pacing.of(row),
    )


def _action(row: Any, verified: bool, fresh_since: datetime) -> str | None:
    if verified or row.state is ChannelState.PAUSED:
        return remedy(row.state, row.reason, row.name)
    # A worker that asks moves the time of the next question on; where it got no answer, only that time moves. Whoever
    # adds or resumes a channel moves it, too, to the moment at which its state changes.
    asked = row.check_due_at >= fresh_since and row.check_due_at not in {row.created_at, row.since}
    stale = _NO_ANSWER if asked else _NOBODY_ASKS
    if row.state in {ChannelState.UP, ChannelState.UNKNOWN}:
        return stale
    return f"{remedy(row.state, row.reason, row.name)} {stale}"


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
