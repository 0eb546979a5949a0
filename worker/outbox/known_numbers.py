"""Which numbers are on WhatsApp: what was answered, how long that is believed, and how often may be asked.

WaSender allows 60 questions a minute and 1,000 a day on a paid channel, 10 and 100 on a trial (contract 3.1). The
slots stand in the channel's row, so that all workers together stay within. Weakness: WaSender tells nobody's plan, so
it is read from the channel's pace: one message a minute, or a daily cap as a trial has it, means a trial.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.models import Channel, KnownNumber

#: How long WhatsApp's yes and no are believed. Somebody may join at any time, and hardly anybody leaves.
YES_HOLDS = timedelta(days=7)
NO_HOLDS = timedelta(days=1)
#: How many answers one transaction forgets.
BATCH = 10_000
#: Seconds between two questions (a little more than the limit allows), and how many a day.
PAID = (1.05, 1000)
TRIAL = (6.3, 100)
#: What a trial may send: one message a minute, 50 a day.
_TRIAL_INTERVAL_S = 60.0
_TRIAL_DAILY_CAP = 50


def known(connection: Connection, recipient: str, *, now: datetime) -> bool | None:
    """WhatsApp's answer, if there is one that still holds."""
    row = connection.execute(
        select(KnownNumber.on_whatsapp, KnownNumber.checked_at).where(KnownNumber.recipient == recipient)
    ).one_or_none()
    if row is None or now - row.checked_at >= (YES_HOLDS if row.on_whatsapp else NO_HOLDS):
        return None
    return bool(row.on_whatsapp)


def learn(connection: Connection, recipient: str, on_whatsapp: bool, *, at: datetime) -> None:
    """Keep an answer; an older one never takes the place of a newer one."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    learnt = {"on_whatsapp": on_whatsapp, "checked_at": at}
    made: Any = insert(KnownNumber).values(recipient=recipient, **learnt)
    connection.execute(
        made.on_conflict_do_update(index_elements=["recipient"], set_=learnt, where=KnownNumber.checked_at < at)
    )


def forget_old(connection: Connection, now: datetime, *, most: int = BATCH) -> int:
    """Delete answers that nobody believes any more, up to `most`. Returns how many."""
    old = select(KnownNumber.recipient).where(KnownNumber.checked_at <= now - YES_HOLDS).limit(most)
    return connection.execute(delete(KnownNumber).where(KnownNumber.recipient.in_(old.scalar_subquery()))).rowcount


def may_ask(connection: Connection, channel_id: int, *, now: datetime) -> bool:
    """Use up one question of this channel's, if there is one left now."""
    today = now.astimezone(UTC).date()
    interval_s, most = _limits(connection, channel_id)
    asked = case((_counted_on(today), Channel.number_checks_that_day), else_=0)
    used = connection.execute(
        update(Channel)
        .where(
            Channel.id == channel_id,
            or_(Channel.number_check_slot_at.is_(None), Channel.number_check_slot_at <= now),
            asked < most,
        )
        .values(
            number_check_slot_at=now + timedelta(seconds=interval_s),
            # A clock that was set back does not begin the day anew.
            number_checks_on=case((_counted_on(today), Channel.number_checks_on), else_=today),
            number_checks_that_day=asked + 1,
        )
    )
    return used.rowcount == 1


def ask_no_more(connection: Connection, channel_id: int, *, until: datetime) -> None:
    """WaSender said that it was asked too often."""
    connection.execute(
        update(Channel)
        .where(
            Channel.id == channel_id,
            or_(Channel.number_check_slot_at.is_(None), Channel.number_check_slot_at < until),
        )
        .values(number_check_slot_at=until)
    )


def _counted_on(today: date) -> ColumnElement[bool]:
    return Channel.number_checks_on >= today


def _limits(connection: Connection, channel_id: int) -> tuple[float, int]:
    row = connection.execute(
        select(Channel.pace_messages, Channel.pace_seconds, Channel.daily_cap).where(Channel.id == channel_id)
    ).one()
    slow = row.pace_seconds / row.pace_messages >= _TRIAL_INTERVAL_S
    capped = row.daily_cap is not None and row.daily_cap <= _TRIAL_DAILY_CAP
    return TRIAL if slow or capped else PAID
