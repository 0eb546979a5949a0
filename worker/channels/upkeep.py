"""What a person changes about a channel: its pool, its pace, its first contacts, and whether it is there at all."""

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from worker.channels.registry import check_pool, slot_at
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.domain.errors import Conflict
from worker.domain.pace import Pace
from worker.models import Base, Channel, Event


def set_pool(connection: Connection, channel_id: int, pool: str | None) -> None:
    """Put a channel into a pool, or let it stand alone. Its messages stay on it. Raises InvalidRequest."""
    if pool is not None:
        check_pool(pool)
    connection.execute(update(Channel).where(Channel.id == channel_id).values(pool=pool))


def set_pace(connection: Connection, channel_id: int, pace: Pace, daily_cap: int | None, *, now: datetime) -> None:
    """Give a channel another pace and daily cap; a run that holds it goes on at the former pace until it ends.

    Raises Conflict for the default channel, whose pace is the environment's.
    """
    row = connection.execute(
        select(Channel.__table__).where(Channel.id == channel_id).with_for_update(key_share=True)
    ).one()
    if row.name == DEFAULT_CHANNEL:
        raise Conflict(
            f"The pace of channel {DEFAULT_CHANNEL} stands in the workers' environment. "
            "Set TRUETICK_PACE (and TRUETICK_DAILY_CAP) there and restart them.",
            code="pace_of_environment",
        )
    slot = slot_at(row, pace, daily_cap, now)
    connection.execute(
        update(Channel)
        .where(Channel.id == channel_id)
        .values(pace_messages=pace.messages, pace_seconds=pace.seconds, daily_cap=daily_cap, next_slot_at=slot)
    )


def set_first_contacts(connection: Connection, channel_id: int, cap: int | None) -> None:
    """Bound how many people a day the channel writes to for the first time; None: no bound.

    It counts messages that are stored from now on; what waits for tomorrow already stays there. Raises Conflict for
    the default channel, whose budget is the environment's.
    """
    others = Channel.name != DEFAULT_CHANNEL
    changed = connection.execute(
        update(Channel).where(Channel.id == channel_id, others).values(first_contact_cap=cap)
    )
    if not changed.rowcount:
        raise Conflict(
            f"The first contacts of channel {DEFAULT_CHANNEL} stand in the workers' environment. "
            "Set TRUETICK_FIRST_CONTACTS_PER_DAY there and restart them.",
            code="first_contacts_of_environment",
        )


def remove(connection: Connection, channel_id: int) -> None:
    """Forget a channel that never had a message. Raises Conflict for one that did: its messages are the record."""
    used = [
        select(table.c.channel_id).where(table.c.channel_id == channel_id).limit(1)
        for table in Base.metadata.sorted_tables
        if "channel_id" in table.c and table.name != Event.__tablename__
    ]
    if any(connection.execute(found).first() is not None for found in used):
        raise Conflict(
            "This channel has messages or a history that would be lost with it. Pause it instead: "
            "truetick channels pause NAME",
            code="channel_in_use",
        )
    connection.execute(delete(Event).where(Event.channel_id == channel_id))
    connection.execute(delete(Channel).where(Channel.id == channel_id))
