"""Gives a channel another API key: paused, with nothing in flight, from WaSender, sealed, stored, and on it goes.

The pause has a reason of its own, written before WaSender is asked, and the session's number is known by then. So
whatever is interrupted leaves a channel that waits, and a second rotation that finds the session by its number.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pydantic import SecretStr
from sqlalchemy import Connection, select

from worker import linked_session
from worker.channels import leases, states
from worker.database import DatabaseAway, snapshot, transaction
from worker.domain.account import Problem, ProblemCode
from worker.domain.account_trouble import trouble
from worker.domain.channel_state import DEFAULT_CHANNEL, DISPROVED_BY_STATUS, KEY_ROTATION, ChannelState
from worker.domain.errors import Conflict, GatewayTrouble, TruetickError
from worker.linked_session import ROTATE_BY_HAND, Linked
from worker.models import Channel
from worker.parts import Parts

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.25
#: After these nobody knows whether there is a new key.
_UNCLEAR = frozenset(
    {
        *(ProblemCode.TIMEOUT, ProblemCode.CONNECTION_LOST),
        *(ProblemCode.SERVER_ERROR, ProblemCode.UNREADABLE_ANSWER),
    }
)
_STAYS_PAUSED = (
    "The channel stays paused, so that nothing is lost. Do it again: truetick channels rotate-key {name}. "
    "Or copy the session's key from WaSender: truetick channels set-key {name}, then truetick channels resume {name}"
)


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """The channel has its new key. `resumed` is False where a person had paused it before."""

    resumed: bool


def rotate(
    parts: Parts,
    name: str,
    *,
    wait_s: float,
    pause: Callable[[float], None] = time.sleep,
    elapsed: Callable[[], float] = time.monotonic,
) -> Rotated:
    """Raises Conflict where it cannot be begun, GatewayTrouble where WaSender does not do it: then all is as before,
    unless the error says that the channel stays paused. `wait_s` bounds the wait for what is in flight.
    """
    linked = _linked(parts, name)
    parts.vault.seal("a trial")  # a key that cannot be sealed must not be asked for
    channel_id: int = linked.channel.id
    with transaction(parts.engine) as connection:
        _require_sound(connection, channel_id)
        states.pause(connection, channel_id, now=parts.clock(), reason=KEY_ROTATION)
    try:
        _wait_for_quiet(parts, linked, wait_s, pause, elapsed)
    except BaseException:
        _go_on(parts, channel_id)
        raise
    try:
        key = _new_key(linked)
    except GatewayTrouble:
        _go_on(parts, channel_id)
        raise
    _store(parts, linked, key, pause)
    log.info("key_rotated", channel=name)
    return Rotated(resumed=_go_on(parts, channel_id))


def _linked(parts: Parts, name: str) -> Linked:
    if name == DEFAULT_CHANNEL:
        raise Conflict(
            f"The key of channel {DEFAULT_CHANNEL} stands in the workers' environment, where Truetick cannot write. "
            "Regenerate it in WaSender, set WASENDER_API_KEY to the new one, and restart the workers.",
            code="key_of_environment",
        )
    linked = linked_session.find(parts, name, by_hand=ROTATE_BY_HAND)
    interrupted = linked.channel.state is ChannelState.PAUSED and linked.channel.reason == KEY_ROTATION
    if not linked.by_key and not (interrupted and not _is_anothers(parts, linked)):
        raise Conflict(
            f"WaSender does not list the key of channel {name}, so it is not proven which session is its own, and "
            f"another one's key would die. Give it its session's key: truetick channels set-key {name}",
            code="unknown_session",
        )
    return linked


def _require_sound(connection: Connection, channel_id: int) -> None:
    """The pause and its end would make a channel sound again that only a tick, or time, may call so."""
    row = connection.execute(
        select(Channel.name, Channel.state, Channel.reason)
        .where(Channel.id == channel_id)
        .with_for_update(key_share=True)
    ).one()
    is_blocked = row.state is ChannelState.BLOCKED and row.reason not in DISPROVED_BY_STATUS
    if row.state is ChannelState.MUTE or is_blocked:
        raise Conflict(
            f"Channel {row.name} is {row.state.value} ({row.reason}). A new key would only hide that. "
            "See `truetick status`, and rotate the key once the channel is up. Where the key must not live until "
            f"then, regenerate it in WaSender, and store it: truetick channels set-key {row.name}",
            code=f"channel_{row.state.value}",
        )


def _is_anothers(parts: Parts, linked: Linked) -> bool:
    """Does the session's key belong to another channel of ours?"""
    with snapshot(parts.engine) as connection:
        sealed = connection.execute(
            select(Channel.api_key_encrypted).where(Channel.id != linked.channel.id)
        ).scalars()
        keys = {parts.vault.channel_key(one) for one in sealed}
    return linked.session.api_key is not None and linked.session.api_key in keys


def _wait_for_quiet(
    parts: Parts, linked: Linked, wait_s: float, pause: Callable[[float], None], elapsed: Callable[[], float]
) -> None:
    """Until no run holds the channel, which would go on with the old key, and nothing of it is being sent."""
    ends_at = elapsed() + wait_s
    while True:
        with snapshot(parts.engine) as connection:
            if not leases.is_at_work(connection, linked.channel.id, now=parts.clock()):
                return
        if elapsed() >= ends_at:
            raise Conflict(
                f"Something of channel {linked.channel.name} is still being sent after {wait_s:.0f} s. Its key is as "
                "it was; try again later, or wait longer with --wait.",
                code="still_sending",
            )
        pause(LOOK_EVERY_S)


def _new_key(linked: Linked) -> SecretStr:
    """Raises GatewayTrouble where there is no new key for sure, Conflict (`key_unclear`) where there may be one."""
    answer = linked.account.regenerate_key(linked.session.id)
    if isinstance(answer, SecretStr):
        return answer
    name = linked.channel.name
    if answer.code not in _UNCLEAR:
        raise trouble(answer, because=f"The key of channel {name} is as it was.")
    sessions = linked.account.sessions()
    listed = () if isinstance(sessions, Problem) else sessions
    key = next((one.api_key for one in listed if one.id == linked.session.id), None)
    if key is not None and key != linked.session.api_key:
        return key
    said = trouble(answer).message
    raise Conflict(
        f"It is not known whether WaSender has replaced the key of channel {name}. {said} "
        f"{_STAYS_PAUSED.format(name=name)}",
        code="key_unclear",
    )


def _store(parts: Parts, linked: Linked, key: SecretStr, pause: Callable[[float], None]) -> None:
    """The former key is dead by now, so a database that is away for a moment is worth some patience."""
    sealed = parts.vault.seal(key.get_secret_value())
    instead_of = linked.channel.api_key_encrypted
    for pause_s in (0.5, 2.0, 5.0, None):
        try:
            if not _kept(parts, linked, sealed, instead_of):
                # Somebody else rotated it meanwhile. Of two new keys only one lives, and the list tells which.
                _kept(parts, linked, parts.vault.seal(_living_key(linked).get_secret_value()), None)
            return
        except DatabaseAway:
            if pause_s is not None:
                pause(pause_s)
    name = linked.channel.name
    raise TruetickError(
        f"WaSender has made a new key for channel {name}, but the database did not take it. "
        f"{_STAYS_PAUSED.format(name=name)}",
        code="key_not_stored",
    )


def _kept(parts: Parts, linked: Linked, sealed: str, instead_of: str | None) -> bool:
    """Replace the key, unless it is no longer the one that it was when this rotation began."""
    with transaction(parts.engine) as connection:
        there = connection.execute(
            select(Channel.api_key_encrypted).where(Channel.id == linked.channel.id).with_for_update(key_share=True)
        ).scalar_one()
        if instead_of is not None and there not in {instead_of, sealed}:
            return False
        states.replace_key(connection, linked.channel.id, sealed, now=parts.clock(), rotated=True)
    return True


def _living_key(linked: Linked) -> SecretStr:
    sessions = linked.account.sessions()
    listed = () if isinstance(sessions, Problem) else sessions
    key = next((one.api_key for one in listed if one.id == linked.session.id), None)
    if key is None:
        name = linked.channel.name
        raise Conflict(
            f"The key of channel {name} was replaced by somebody else at the same time, and WaSender does not say "
            f"which one holds. {_STAYS_PAUSED.format(name=name)}",
            code="key_unclear",
        )
    return key


def _go_on(parts: Parts, channel_id: int) -> bool:
    """The end of this story's own pause; a person's stays. Returns whether there is no pause any more."""
    with transaction(parts.engine) as connection:
        states.end_pause(connection, channel_id, KEY_ROTATION, now=parts.clock())
        state = connection.execute(select(Channel.state).where(Channel.id == channel_id)).scalar_one()
        return state is not ChannelState.PAUSED
