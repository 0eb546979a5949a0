"""The day's budget of first contacts: messages to people whom a channel has never written to, counted in its row.

Too many strangers in a day get a WhatsApp number restricted. A stranger is a number to which no message of the
channel has had an attempt that counts. Days are UTC.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, literal_column, select, update

from worker.models import Channel, Message

HELD_BY = "first_contacts"

_BUDGETED = select(Channel.id).where(
    Channel.id.in_(bindparam("ids", expanding=True)), Channel.first_contact_cap.is_not(None)
)
_KNOWN = (
    select(Message.channel_id, Message.recipient)
    .where(
        Message.channel_id.in_(bindparam("ids", expanding=True)),
        Message.recipient.in_(bindparam("recipients", expanding=True)),
        Message.attempts > 0,
    )
    .distinct()
)
_COUNT = (
    update(Channel)
    .where(Channel.id == bindparam("_id"))
    .values(first_contacts_on=bindparam("_on"), first_contacts_that_day=bindparam("_count"))
)
_UNCOUNT = (
    update(Channel)
    .where(
        Channel.id == bindparam("_id"),
        Channel.first_contacts_on == bindparam("_on"),
        Channel.first_contacts_that_day > 0,
    )
    .values(first_contacts_that_day=Channel.first_contacts_that_day - 1)
)


def mark(connection: Connection, rows: Collection[dict[str, Any]]) -> None:
    """Mark those of these new messages that go to strangers, on channels with a budget. No others are ever held."""
    written_to = [row for row in rows if row["recipient"] and row["recipient"].startswith("+")]
    if not written_to:
        return
    ids = {row["channel_id"] for row in written_to}
    budgeted = set(connection.execute(_BUDGETED, {"ids": list(ids)}).scalars())
    counted = [row for row in written_to if row["channel_id"] in budgeted]
    known = known_to(connection, {(row["channel_id"], row["recipient"]) for row in counted})
    for row in counted:
        row["first_contact"] = (row["channel_id"], row["recipient"]) not in known


def known_to(connection: Connection, pairs: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of these pairs of channel and recipient that are no strangers."""
    if not pairs:
        return set()
    asked = {"ids": list({pair[0] for pair in pairs}), "recipients": list({pair[1] for pair in pairs})}
    return {(row.channel_id, row.recipient) for row in connection.execute(_KNOWN, asked)}


def stranger_waits_until(connection: Connection, channel_id: int, recipient: str, at: datetime) -> datetime | None:
    """When this recipient may be written to, if it is a stranger and that day's budget is used up; else None."""
    columns = (Channel.first_contact_cap, Channel.first_contacts_on, Channel.first_contacts_that_day)
    row = connection.execute(select(*columns).where(Channel.id == channel_id)).one()
    pair = (channel_id, recipient)
    return next_day(at) if is_used_up(row, at) and pair not in known_to(connection, {pair}) else None


def is_used_up(row: Any, now: datetime) -> bool:
    """Has this channel (first_contact_cap and its counts) no first contact left today?"""
    return row.first_contact_cap is not None and used(row, now) >= row.first_contact_cap


def used(row: Any, now: datetime) -> int:
    """How many were counted today. What was counted on a later day (a clock set back) counts as well."""
    on = row.first_contacts_on
    return 0 if on is None or now.astimezone(UTC).date() > on else row.first_contacts_that_day


def count(connection: Connection, rows: Sequence[Any], now: datetime) -> None:
    """Count one on each of these channels, with the claim that uses it. Their rows have to be locked."""
    today = now.astimezone(UTC).date()
    if rows:
        counted = [
            {
                "_id": row.channel_id,
                "_on": max(today, row.first_contacts_on or today),
                "_count": used(row, now) + 1,
            }
            for row in rows
        ]
        connection.execute(_COUNT, counted)


def uncount(connection: Connection, claims: Collection[tuple[int, datetime]]) -> None:
    """Take back what these claims (channel and time) counted: their attempts turned out not to count."""
    for channel_id, claimed_at in claims:
        connection.execute(_UNCOUNT, {"_id": channel_id, "_on": claimed_at.astimezone(UTC).date()})


def next_day(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def hold_strangers(connection: Connection, channel_id: int, due: Sequence[Any], now: datetime) -> int:
    """Let these strangers wait for the next day, with all that is queued for them, so that their order stays.

    `due` are rows with recipient and first_contact. Returns how many messages were moved.
    """
    pairs = {(channel_id, row.recipient) for row in due if row.first_contact}
    strangers = [recipient for _, recipient in pairs - known_to(connection, pairs)]
    tomorrow = next_day(now)
    moved = connection.execute(
        update(Message)
        .where(
            Message.channel_id == channel_id,
            Message.recipient.in_(strangers),
            Message.state == literal_column("'queued'"),
            Message.due_at < tomorrow,
        )
        .values(due_at=tomorrow, held_by=HELD_BY)
    )
    return moved.rowcount
