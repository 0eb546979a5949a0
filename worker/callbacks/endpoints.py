"""All SQL on `endpoints`: who is told, how far, how it fares, and which run may deliver to it.

Whoever changes an endpoint's callbacks holds its row. Locks: messages before endpoints, endpoints before callbacks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, func, or_, select, text, update
from sqlalchemy.orm import aliased

from worker.callbacks.breaker import Standing
from worker.database import insert_unless_there
from worker.domain.errors import Conflict, InvalidRequest, NotFound
from worker.models import Callback, Endpoint
from worker.outbox.feed import last_number

#: The endpoint that the environment describes.
DEFAULT = "default"
#: Each one that is in trouble may keep a thread.
MOST_ENDPOINTS = 50

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LONGEST_PROBLEM = 300


@dataclass(frozen=True, kw_only=True)
class NewEndpoint:
    """What a person says of an endpoint. Its secret comes encrypted."""

    name: str
    #: NULL: the environment's.
    address: str | None
    secret_encrypted: str | None


def all_endpoints(connection: Connection) -> Sequence[Row[Any]]:
    """Every endpoint's row, by name."""
    return connection.execute(select(Endpoint.__table__).order_by(Endpoint.name)).all()


def any_endpoint(connection: Connection) -> bool:
    """Is there an endpoint at all?"""
    return connection.execute(select(Endpoint.id).limit(1)).first() is not None


def get(connection: Connection, name: str) -> Row[Any]:
    """One endpoint's row. Raises NotFound, naming the endpoints there are."""
    found = connection.execute(select(Endpoint.__table__).where(Endpoint.name == name)).one_or_none()
    if found is None:
        names = connection.execute(select(Endpoint.name).order_by(Endpoint.name)).scalars().all()
        known = f"Known endpoints: {', '.join(names)}." if names else "There is none yet."
        raise NotFound(f"There is no endpoint named {name[:64]!r}. {known}", code="unknown_endpoint")
    return found


def add(connection: Connection, new: NewEndpoint, now: datetime) -> None:
    """Add an endpoint; it is told what happens from now on. Raises InvalidRequest for a bad name, Conflict for one
    that is taken or one too many."""
    if not _NAME.fullmatch(new.name):
        raise InvalidRequest(
            f"{new.name[:70]!r} cannot be an endpoint's name. Use 1 to 64 of a-z, 0-9, - and _.", code="bad_name"
        )
    if connection.execute(select(func.count(Endpoint.id))).scalar_one() >= MOST_ENDPOINTS:
        raise Conflict(
            f"There are {MOST_ENDPOINTS} endpoints, and there cannot be more. Remove one that is not needed: "
            "truetick callbacks remove NAME",
            code="too_many_endpoints",
        )
    if not _insert(connection, new, now):
        raise Conflict(f"There is an endpoint named {new.name} already.", code="endpoint_exists")


def ensure_default(connection: Connection, now: datetime) -> None:
    """Have a row for the endpoint that the environment describes. A new one is not told what was before."""
    _insert(connection, NewEndpoint(name=DEFAULT, address=None, secret_encrypted=None), now)


def _insert(connection: Connection, new: NewEndpoint, now: datetime) -> bool:
    made = connection.execute(
        insert_unless_there(connection, Endpoint)
        .values(
            name=new.name,
            address=new.address,
            secret_encrypted=new.secret_encrypted,
            created_at=now,
            after_no=last_number(connection),
            failures=0,
            next_try_at=now,
        )
        .returning(Endpoint.id)
    ).scalar_one_or_none()
    return made is not None


def replace_secret(connection: Connection, endpoint_id: int, sealed: str, now: datetime) -> None:
    """From now on its callbacks are signed with this secret (encrypted); it is tried at once."""
    connection.execute(
        update(Endpoint)
        .where(Endpoint.id == endpoint_id)
        .values(secret_encrypted=sealed, problem=None, next_try_at=now)
    )


def lock(connection: Connection, endpoint_id: int) -> Row[Any] | None:
    """Hold an endpoint; None when it is gone."""
    return connection.execute(
        select(Endpoint.__table__).where(Endpoint.id == endpoint_id).with_for_update()
    ).one_or_none()


def remove(connection: Connection, endpoint_id: int) -> None:
    """Remove an endpoint that `lock` holds, with the callbacks that it still has."""
    connection.execute(delete(Callback).where(Callback.endpoint_id == endpoint_id))
    connection.execute(delete(Endpoint).where(Endpoint.id == endpoint_id))


def forget_callbacks(connection: Connection, endpoint_id: int, most: int) -> int:
    """Delete up to `most` callbacks of an endpoint. Returns how many that were."""
    some = select(Callback.id).where(Callback.endpoint_id == endpoint_id).order_by(Callback.feed_no).limit(most)
    return connection.execute(delete(Callback).where(Callback.id.in_(some.scalar_subquery()))).rowcount


# Who delivers


def with_work(connection: Connection, now: datetime) -> Sequence[Any]:
    """The endpoints (`id`, `name`, `address`) that nobody serves and that have something to be told."""
    return connection.execute(_WITH_WORK, {"last": last_number(connection), "now": now}).all()


def _with_work() -> Select[int, str, str | None]:
    waiting = aliased(Callback, name="waiting")
    # The first in order rather than any: that question has one answer, the index, whatever the planner believes.
    first_due_at = (
        select(waiting.due_at)
        .where(waiting.endpoint_id == Endpoint.id, text("waiting.state = 'waiting'"))
        .order_by(waiting.due_at)
        .limit(1)
        .correlate(Endpoint)
        .scalar_subquery()
    )
    now = bindparam("now", type_=Endpoint.next_try_at.type)
    behind = Endpoint.after_no < bindparam("last")
    return (
        select(Endpoint.id, Endpoint.name, Endpoint.address)
        .where(_is_free(now), or_(behind, and_(Endpoint.next_try_at <= now, first_due_at <= now)))
        .order_by(Endpoint.id)
    )


def _is_free(now: Any) -> Any:
    return or_(Endpoint.lease_expires_at.is_(None), Endpoint.lease_expires_at <= now)


#: Put together once: whoever looks asks it every few seconds.
_WITH_WORK = _with_work()


def lease(connection: Connection, endpoint_id: int, token: str, *, now: datetime, until: datetime) -> bool:
    """Make an endpoint this run's own; False when another one serves it."""
    taken = connection.execute(
        update(Endpoint)
        .where(Endpoint.id == endpoint_id, _is_free(now))
        .values(lease_token=token, lease_expires_at=until)
    )
    return bool(taken.rowcount)


def hold(connection: Connection, endpoint_id: int, token: str) -> Row[Any] | None:
    """Lock an endpoint that this run has leased; None when it has lost it."""
    row = lock(connection, endpoint_id)
    return row if row is not None and row.lease_token == token else None


def renew(connection: Connection, endpoint_id: int, until: datetime) -> None:
    """Keep the endpoint that `hold` holds until then."""
    connection.execute(update(Endpoint).where(Endpoint.id == endpoint_id).values(lease_expires_at=until))


def give_back(connection: Connection, endpoint_id: int, token: str) -> None:
    """Let others serve it."""
    connection.execute(
        update(Endpoint)
        .where(Endpoint.id == endpoint_id, Endpoint.lease_token == token)
        .values(lease_token=None, lease_expires_at=None)
    )


def keep_standing(connection: Connection, endpoint_id: int, standing: Standing) -> None:
    """Record how the endpoint that `hold` holds has fared."""
    connection.execute(
        update(Endpoint)
        .where(Endpoint.id == endpoint_id)
        .values(
            failures=standing.failures,
            next_try_at=standing.next_try_at,
            last_success_at=standing.last_success_at,
            problem=standing.problem and standing.problem[:LONGEST_PROBLEM],
        )
    )


def try_now(connection: Connection, endpoint_id: int, now: datetime) -> None:
    """A person wants it to be tried at once."""
    connection.execute(update(Endpoint).where(Endpoint.id == endpoint_id).values(next_try_at=now))
