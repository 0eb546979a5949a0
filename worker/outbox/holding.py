"""Holding back: messages that are due but must not go out yet, for quiet hours or for the day's first contacts.

They are moved to the time at which they may, so that no later look stumbles over them. What is held goes out then in
the order of its arrival. What its recipient has come to want no more fails here. Asked only about messages that heed
such a rule or are unwanted; the others never come here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, literal_column, select, update

from worker.domain.quiet_hours import QuietHours
from worker.models import Channel, Message
from worker.outbox import first_contacts, suppressions

QUIET_HOURS = "quiet_hours"
#: How many due messages of a channel are looked through at once. Few, for other channels' claims wait for the same
#: commit; the rest is looked at once these are out of the way (some ten thousand in a second).
BATCH = 250

#: The channels' rows are locked by whoever claims. The messages are locked, so that what is free stays so.
_LOOK = (
    select(
        *(Message.seq, Message.id, Message.channel_id, Message.created_at, Message.priority, Message.recipient),
        *(Message.quiet_zone, Message.first_contact, Channel.first_contact_cap, Channel.first_contacts_on),
        Channel.first_contacts_that_day,
    )
    .join(Channel, Channel.id == Message.channel_id)
    .where(Message.seq.in_(bindparam("seqs", expanding=True)), Message.state == literal_column("'queued'"))
    .order_by(Message.seq)
    .with_for_update(of=Message, key_share=True)
)
_DUE = (
    select(Message.seq, Message.recipient, Message.quiet_zone, Message.first_contact)
    .where(
        Message.channel_id == bindparam("channel_id"),
        Message.state == literal_column("'queued'"),
        Message.priority == bindparam("priority"),
        Message.due_at <= bindparam("now"),
    )
    .order_by(Message.due_at, Message.seq)
    .limit(BATCH)
)


@dataclass(frozen=True, kw_only=True)
class Sifted:
    """What may go out now, and the channels on which something was held back, or failed: others may be next there."""

    free: list[int] = field(default_factory=list)
    #: Those of the free ones that were counted as first contacts.
    counted: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)


def sift(connection: Connection, seqs: Collection[int], *, quiet_hours: QuietHours | None, now: datetime) -> Sifted:
    """Hold back those of these messages (at most one a channel) that must not go out yet, and their like too."""
    sifted = Sifted()
    rows = connection.execute(_LOOK, {"seqs": list(seqs)}).all()
    failed = suppressions.fail_held(connection, rows, now=now)
    sifted.held.update(row.channel_id for row in rows if row.seq in failed)
    rows = [row for row in rows if row.seq not in failed]
    pairs = {(row.channel_id, row.recipient) for row in rows if row.first_contact}
    known = first_contacts.known_to(connection, pairs)
    counted = []
    for row in rows:
        ends = quiet_hours.until(now, row.quiet_zone) if quiet_hours and row.quiet_zone else None
        stranger = row.first_contact and (row.channel_id, row.recipient) not in known
        if ends is not None:
            _hold_quiet(connection, row, ends, now)
            sifted.held.add(row.channel_id)
        elif stranger and first_contacts.is_used_up(row, now):
            due = [row, *_due_like(connection, row, now)]
            first_contacts.hold_strangers(connection, row.channel_id, due, now)
            sifted.held.add(row.channel_id)
        else:
            sifted.free.append(row.seq)
            if stranger and row.first_contact_cap is not None:
                counted.append(row)
    first_contacts.count(connection, counted, now)
    sifted.counted.update(row.seq for row in counted)
    return sifted


def _hold_quiet(connection: Connection, row: Any, ends: datetime, now: datetime) -> None:
    like = (other.seq for other in _due_like(connection, row, now) if other.quiet_zone == row.quiet_zone)
    connection.execute(
        update(Message)
        .where(Message.seq.in_({row.seq, *like}), Message.state == literal_column("'queued'"))
        .values(due_at=ends, held_by=QUIET_HOURS)
    )


def _due_like(connection: Connection, row: Any, now: datetime) -> Sequence[Any]:
    """The next due messages of the same channel and rank, up to a bound however many wait."""
    asked = {"channel_id": row.channel_id, "priority": row.priority, "now": now}
    return connection.execute(_DUE, asked).all()
