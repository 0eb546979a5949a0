"""Channels by name: the default one from the environment, and those that a person adds."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from worker.channels.states import BY_A_PERSON
from worker.database import insert_unless_there
from worker.domain.channel_state import DEFAULT_CHANNEL, NO_API_KEY, ChannelState
from worker.domain.errors import Conflict, InvalidRequest, NotFound
from worker.domain.pace import Pace, Pacing
from worker.models import Channel
from worker.outbox.events import Source, event, record

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class NewChannel:
    """What a person says of a channel. Secrets come encrypted."""

    name: str
    pace: Pace
    #: POSTs allowed in one day (UTC); None: as many as the pace allows.
    daily_cap: int | None = None
    #: People written to for the first time in one day (UTC); None: as many as come.
    first_contact_cap: int | None = None
    api_key_encrypted: str | None = None
    webhook_secret_encrypted: str | None = None
    gateway_session_id: int | None = None
    pool: str | None = None


def ensure_default(connection: Connection, pace: Pace, now: datetime, *, daily_cap: int | None = None) -> int:
    """The id of the channel that the environment describes; made with this pace and cap on first use."""
    kept = connection.execute(select(Channel.id).where(Channel.name == DEFAULT_CHANNEL)).scalar_one_or_none()
    if kept is not None:
        return kept
    _insert(connection, NewChannel(name=DEFAULT_CHANNEL, pace=pace, daily_cap=daily_cap), now)
    return channel_id(connection, DEFAULT_CHANNEL)


def follow_environment(
    connection: Connection,
    pace: Pace,
    now: datetime,
    *,
    daily_cap: int | None = None,
    first_contact_cap: int | None = None,
    has_key: bool = True,
) -> None:
    """Keep the default channel as the workers' environment says. Only workers know; a shell's settings may differ.

    Where that has no key for it and there are other channels, none is made: nobody has asked for it. A channel that
    waits for midnight because of its cap goes on at once when the cap is raised or taken away.
    """
    if not has_key and _others_alone(connection):
        return
    default = ensure_default(connection, pace, now, daily_cap=daily_cap)
    _note_whether_paused_without_key(connection, default, has_key=has_key)
    differs = or_(
        Channel.pace_messages != pace.messages,
        Channel.pace_seconds != pace.seconds,
        Channel.daily_cap.is_distinct_from(daily_cap),
        Channel.first_contact_cap.is_distinct_from(first_contact_cap),
    )
    changed = connection.execute(
        select(Channel.__table__).where(Channel.id == default, differs).with_for_update(key_share=True)
    ).one_or_none()
    if changed is None:
        return
    slot = slot_at(changed, pace, daily_cap, now)
    connection.execute(
        update(Channel)
        .where(Channel.id == default)
        .values(
            pace_messages=pace.messages,
            pace_seconds=pace.seconds,
            daily_cap=daily_cap,
            first_contact_cap=first_contact_cap,
            next_slot_at=slot,
        )
    )


def _others_alone(connection: Connection) -> bool:
    names = connection.execute(select(Channel.name)).scalars().all()
    return bool(names) and DEFAULT_CHANNEL not in names


def _note_whether_paused_without_key(connection: Connection, default: int, *, has_key: bool) -> None:
    """Nobody asks about a paused channel, so its reason would not tell."""
    before, after = (NO_API_KEY, BY_A_PERSON) if has_key else (BY_A_PERSON, NO_API_KEY)
    connection.execute(
        update(Channel)
        .where(Channel.id == default, Channel.state == ChannelState.PAUSED, Channel.reason == before)
        .values(reason=after)
    )


def slot_at(row: Any, pace: Pace, daily_cap: int | None, now: datetime) -> datetime:
    """The next slot of a channel that gets this pace and cap: sooner where it waits for midnight without need."""
    before = Pacing.of(row)
    after = replace(before, pace=pace, daily_cap=daily_cap)
    slot: datetime = row.next_slot_at
    if before.is_used_up(now) and slot == before.allowed_from(now) and not after.is_used_up(now):
        return after.allowed_from(now + after.interval)
    return slot


def add(connection: Connection, channel: NewChannel, now: datetime) -> int:
    """Add a channel and return its id. Raises InvalidRequest for a bad name, Conflict for one that is taken, and for
    a key of the default one: the environment has that, and one that stood here could never be replaced.
    """
    if not _NAME.fullmatch(channel.name):
        raise InvalidRequest(
            f"{channel.name[:70]!r} cannot be a channel's name. Use 1 to 64 of a-z, 0-9, - and _.", code="bad_name"
        )
    if channel.name == DEFAULT_CHANNEL and channel.api_key_encrypted is not None:
        raise Conflict(
            f"Channel {DEFAULT_CHANNEL} is the workers' environment's. Set WASENDER_API_KEY there and restart them, "
            "or add a channel of another name.",
            code="key_of_environment",
        )
    if channel.pool is not None:
        check_pool(channel.pool)
    if not _insert(connection, channel, now):
        raise Conflict(f"There is a channel named {channel.name} already.", code="channel_exists")
    return channel_id(connection, channel.name)


def _insert(connection: Connection, channel: NewChannel, now: datetime) -> bool:
    new_id = connection.execute(
        insert_unless_there(connection, Channel)
        .values(
            name=channel.name,
            api_key_encrypted=channel.api_key_encrypted,
            webhook_secret_encrypted=channel.webhook_secret_encrypted,
            gateway_session_id=channel.gateway_session_id,
            pace_messages=channel.pace.messages,
            pace_seconds=channel.pace.seconds,
            daily_cap=channel.daily_cap,
            first_contact_cap=channel.first_contact_cap,
            pool=channel.pool,
            created_at=now,
            state=ChannelState.UNKNOWN,
            reason="",
            since=now,
            check_due_at=now,
            next_slot_at=now,
            failures=0,
        )
        .returning(Channel.id)
    ).scalar_one_or_none()
    if new_id is None:
        return False
    made = event(channel_id=new_id, at=now, source=Source.OPERATOR, before=None, after=ChannelState.UNKNOWN)
    record(connection, [made])
    return True


def channel_id(connection: Connection, name: str) -> int:
    """Raises NotFound, naming the channels there are."""
    asked = select(Channel.id).where(Channel.name == name)
    # What can be no name may hold what a database refuses to look for.
    found = connection.execute(asked).scalar_one_or_none() if _NAME.fullmatch(name) else None
    if found is None:
        names = connection.execute(select(Channel.name).order_by(Channel.name).limit(20)).scalars().all()
        known = f"Known channels: {', '.join(names)}." if names else "There is none yet."
        raise NotFound(f"There is no channel named {name[:64]!r}. {known}", code="unknown_channel")
    return found


def replace_webhook_secret(connection: Connection, channel_id: int, sealed: str) -> None:
    """From now on webhooks of this channel have to come with this secret (encrypted)."""
    connection.execute(update(Channel).where(Channel.id == channel_id).values(webhook_secret_encrypted=sealed))


def check_pool(name: str) -> None:
    """Raises InvalidRequest for what cannot be a pool's name."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:70]!r} cannot be a pool's name. Use 1 to 64 of a-z, 0-9, - and _.", code="bad_name"
        )


def learn_session_id(connection: Connection, channel_id: int, session_id: int) -> None:
    """WaSender's number of the session, found by the channel's key."""
    connection.execute(
        update(Channel)
        .where(Channel.id == channel_id, Channel.gateway_session_id.is_(None))
        .values(gateway_session_id=session_id)
    )


def note_session_id(connection: Connection, channel_id: int, session_id: int) -> None:
    """WaSender lists the channel's key with this number, whatever was noted before."""
    connection.execute(update(Channel).where(Channel.id == channel_id).values(gateway_session_id=session_id))


def all_channels(connection: Connection) -> list[Row[tuple[Channel]]]:
    """Every channel's row (columns of `Channel.__table__`), by name."""
    return list(connection.execute(select(Channel.__table__).order_by(Channel.name)))
