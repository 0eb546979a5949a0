"""Which channel of a pool takes a message: the one that its recipient knows, else the one where it waits the least.

Weakness: two processes that store the first messages to one recipient at the very same moment may choose different
channels; each of them keeps its own order.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    String,
    and_,
    bindparam,
    column,
    literal_column,
    not_,
    or_,
    select,
    text,
)
from sqlalchemy.orm import aliased

from worker.channels.queues import queues_of, shortest
from worker.domain.channel_state import ChannelState
from worker.domain.errors import NotFound
from worker.models import Channel, Message
from worker.outbox.openness import is_open

#: How far back a recipient's messages are looked at: one that hears much from other pools is a stranger to this one.
LATEST = 50
#: These last until a person does something.
_STOPPED = (ChannelState.BLOCKED, ChannelState.PAUSED)
_NOT_GONE = not_(and_(Channel.state.in_(_STOPPED), Channel.since <= bindparam("stopped_before")))
_WANTED = ("pool", "recipient", "below")
_MEMBERS = select(Channel.__table__).where(Channel.pool.in_(bindparam("pools", expanding=True))).order_by(Channel.id)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A message for any channel of a pool. `recipient` is its address; None: there is no understanding it."""

    pool: str
    recipient: str | None
    #: 0 transactional, 1 bulk.
    rank: int = 0


def choose(
    connection: Connection, wishes: Sequence[Wish], *, now: datetime, stopped_for: timedelta
) -> list[int | NotFound]:
    """The id of the channel that takes each message, in order; NotFound (`unknown_pool`) where nobody is in the pool.

    A recipient stays with the channel of the pool from which the last message came, unless that one has been blocked
    or paused for longer than `stopped_for` and nothing waits there for this recipient. Three queries at the most,
    however many wishes there are; messages of one batch to one recipient take the same channel.
    """
    pools = members(connection, {wish.pool for wish in wishes})
    unknown = _unknown(connection, {wish.pool for wish in wishes} - set(pools))
    at_home = acquainted(
        connection,
        {(wish.pool, wish.recipient): None for wish in wishes if wish.recipient and wish.pool in pools},
        usable=_NOT_GONE,
        stopped_before=now - stopped_for,
    )
    strangers = {wish.pool for wish in wishes if (wish.pool, wish.recipient) not in at_home} & set(pools)
    queues = queues_of(connection, [row for pool in strangers for row in pools[pool]], now=now)
    chosen: list[int | NotFound] = []
    for wish in wishes:
        if wish.pool in unknown:
            chosen.append(unknown[wish.pool])
            continue
        taken = at_home.get((wish.pool, wish.recipient)) if wish.recipient else None
        if taken is None:
            taken = shortest([queues[row.id] for row in pools[wish.pool]], wish.recipient, wish.rank, now)
        if wish.recipient:
            at_home[wish.pool, wish.recipient] = taken
        if taken in queues:
            queues[taken].join(wish.rank)
        chosen.append(taken)
    return chosen


def require_pool(connection: Connection, pool: str) -> None:
    """Raises NotFound (`unknown_pool`) where nobody is in it."""
    if not members(connection, {pool}):
        raise _unknown(connection, {pool})[pool]


def members(connection: Connection, pools: Collection[str]) -> dict[str, list[Any]]:
    """The channels (columns of `Channel.__table__`) of those of these pools that have any."""
    found: dict[str, list[Any]] = {}
    for row in connection.execute(_MEMBERS, {"pools": list(pools)}) if pools else ():
        found.setdefault(row.pool, []).append(row)
    return found


def acquainted(
    connection: Connection, asked: Mapping[tuple[str, str], int | None], *, usable: Any, **values: object
) -> dict[tuple[str, str], int]:
    """The channel of each pool from which each recipient had the last message; of those who had none, nothing.

    A channel that is not `usable` (a condition on `Channel`, with its `values`) counts while something of it waits
    for the recipient, or a later message would overtake that. With a number in `asked`, only what arrived before that
    message counts.
    """
    if not asked:
        return {}
    rows = [(pool, recipient, before or 2**62) for (pool, recipient), before in asked.items()]
    size = 1 << (len(rows) - 1).bit_length()  # few different statements: the rest repeats the last row
    rows += rows[-1:] * (size - len(rows))
    given = {f"{name}_{n}": value for n, row in enumerate(rows) for name, value in zip(_WANTED, row, strict=True)}
    found = connection.execute(_acquainted(size, usable), given | values)
    return {(row.pool, row.recipient): row.channel_id for row in found if row.channel_id is not None}


@lru_cache(maxsize=32)
def _acquainted(size: int, usable: Any) -> Select[Any]:
    """Built once for each number of rows: SQLAlchemy's own VALUES is compiled anew each time it is used."""
    rows = ", ".join(f"(:pool_{n}, :recipient_{n}, CAST(:below_{n} AS BIGINT))" for n in range(size))
    wanted = (
        text(f"SELECT column1 AS pool, column2 AS recipient, column3 AS below FROM (VALUES {rows}) AS given")  # noqa: S608
        .columns(column("pool", String), column("recipient", String), column("below", BigInteger))
        .cte("wanted")
    )
    message = aliased(Message, name="message")
    latest = (
        select(message.seq, message.channel_id, _waits("message").label("waits"))
        .where(message.recipient == wanted.c.recipient, message.seq < wanted.c.below)
        .order_by(message.seq.desc())
        .limit(LATEST)
        .correlate(wanted)
        .subquery("latest")
    )
    known = (
        select(latest.c.channel_id)
        .join(Channel, Channel.id == latest.c.channel_id)
        .where(Channel.pool == wanted.c.pool, or_(usable, latest.c.waits))
        .order_by(latest.c.seq.desc())
        .limit(1)
        .correlate(wanted)
        .scalar_subquery()
    )
    return select(wanted.c.pool, wanted.c.recipient, known.label("channel_id"))


def _waits(alias: str) -> Any:
    """Is this message queued, or may it have to be sent again?"""
    return or_(literal_column(f"{alias}.state = 'queued'"), is_open(alias))


def _unknown(connection: Connection, pools: Collection[str]) -> dict[str, NotFound]:
    if not pools:
        return {}
    known = connection.execute(
        select(Channel.pool).where(Channel.pool.is_not(None)).distinct().order_by(Channel.pool).limit(20)
    ).scalars()
    names = ", ".join(name for name in known if name)
    there_are = f"Known pools: {names}." if names else "There is no pool yet."
    return {
        pool: NotFound(
            f"There is no channel in a pool named {pool!r}. {there_are} "
            f"Put a channel into it with: truetick channels set-pool NAME {pool}",
            code="unknown_pool",
        )
        for pool in pools
    }
