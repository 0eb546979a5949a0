"""All SQL about access tokens: keys of the HTTP API that a person made. A key itself is never stored."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, or_, select, update

from worker.database import insert_unless_there
from worker.domain.access import HINT_LENGTH, KEY_PREFIX, Scope, digest, parse_scopes, written
from worker.domain.errors import Conflict, InvalidRequest, NotFound
from worker.models import AccessToken

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: 32 random bytes are 43 characters.
_RANDOM_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Token:
    """An access token as people see it."""

    id: int
    name: str
    hint: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    #: Until then the key before the last rotation opens, too.
    former_until: datetime | None

    def state(self, now: datetime) -> str:
        """`open`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "open"


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What one key opens, and until when. `until` None: for ever."""

    token_id: int
    name: str
    scopes: frozenset[Scope]
    until: datetime | None
    revoked: bool
    last_used_at: datetime | None


def add(
    connection: Connection, name: str, scopes: frozenset[Scope], *, now: datetime, expires_at: datetime | None = None
) -> str:
    """Make a token and return its key. Raises InvalidRequest for a bad name or an end that has passed, Conflict for a
    name that is taken."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:70]!r} cannot be a token's name. Use 1 to 64 of a-z, 0-9, - and _.", code="bad_name"
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest(
            f"Token {name} would have expired before it is used. Say how long its key opens: --expires-in 90d",
            code="token_expired",
        )
    key = _new_key()
    made = connection.execute(
        insert_unless_there(connection, AccessToken)
        .values(name=name, scopes=written(scopes), created_at=now, expires_at=expires_at, **_kept(key))
        .returning(AccessToken.id)
    ).scalar_one_or_none()
    if made is None:
        raise _taken(connection, name)
    return key


def _taken(connection: Connection, name: str) -> Conflict:
    revoked_at = connection.execute(select(AccessToken.revoked_at).where(AccessToken.name == name)).scalar_one()
    if revoked_at is not None:
        said = f"Token {name} was revoked, and its name stays taken. Choose another name."
    else:
        said = f"There is a token named {name}. Choose another name, or give it a new key with: "
        said += f"truetick tokens rotate {name}"
    return Conflict(said, code="token_exists")


def rotate(
    connection: Connection, name: str, *, now: datetime, overlap: timedelta, expires_at: datetime | None = None
) -> str:
    """Give a token a new key and return it; the former one opens for `overlap` more. A key that was still in its
    overlap stops at once.

    Without `expires_at` the token ends when it would have ended. Raises NotFound, and Conflict for a token that
    opens nothing any more.
    """
    row = _locked(connection, name)
    if row.revoked_at is not None:
        raise Conflict(
            f"Token {name} was revoked. Make a new one: truetick tokens add ANOTHER-NAME", code="token_revoked"
        )
    ends_at = expires_at or row.expires_at
    if ends_at is not None and ends_at <= now:
        raise Conflict(
            f"Token {name} has expired. Say how long the new key opens: --expires-in", code="token_expired"
        )
    key = _new_key()
    former_until = min(now + overlap, row.expires_at) if row.expires_at else now + overlap
    keeps = former_until > now
    connection.execute(
        update(AccessToken)
        .where(AccessToken.id == row.id)
        .values(
            expires_at=ends_at,
            former_digest=row.digest if keeps else None,
            former_until=former_until if keeps else None,
            **_kept(key),
        )
    )
    return key


def revoke(connection: Connection, name: str, *, now: datetime) -> None:
    """End all keys of a token; harmless when that was done before. Raises NotFound."""
    row = _locked(connection, name)
    if row.revoked_at is None:
        connection.execute(update(AccessToken).where(AccessToken.id == row.id).values(revoked_at=now))


def all_tokens(connection: Connection) -> list[Token]:
    """Every token there is or was, by name."""
    same_named = set(Token.__dataclass_fields__) - {"scopes"}
    rows = connection.execute(select(AccessToken.__table__).order_by(AccessToken.name))
    return [Token(**{name: row._mapping[name] for name in same_named}, scopes=_scopes(row)) for row in rows]


def find(connection: Connection, key_digest: str) -> Opening | None:
    """What the key with this digest opens, or opened."""
    row = connection.execute(
        select(AccessToken.__table__).where(
            or_(AccessToken.digest == key_digest, AccessToken.former_digest == key_digest)
        )
    ).one_or_none()
    if row is None:
        return None
    return Opening(
        token_id=row.id,
        name=row.name,
        scopes=_scopes(row),
        until=row.expires_at if row.digest == key_digest else row.former_until,
        revoked=row.revoked_at is not None,
        last_used_at=row.last_used_at,
    )


def any_there(connection: Connection) -> bool:
    """Has a token ever been made?"""
    return connection.execute(select(AccessToken.id).limit(1)).first() is not None


def note_used(connection: Connection, token_ids: Sequence[int], now: datetime) -> None:
    """Note that keys of these tokens opened something just now."""
    connection.execute(update(AccessToken).where(AccessToken.id.in_(sorted(token_ids))).values(last_used_at=now))


def _locked(connection: Connection, name: str) -> Any:
    row = connection.execute(
        select(AccessToken.__table__).where(AccessToken.name == name).with_for_update()
    ).one_or_none()
    if row is None:
        names = connection.execute(select(AccessToken.name).order_by(AccessToken.name).limit(20)).scalars().all()
        known = f"Known tokens: {', '.join(names)}." if names else "There is none yet."
        raise NotFound(f"There is no token named {name[:64]!r}. {known}", code="unknown_token")
    return row


def _new_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def _kept(key: str) -> dict[str, str]:
    return {"digest": digest(key), "hint": key[:HINT_LENGTH]}


def _scopes(row: Any) -> frozenset[Scope]:
    return parse_scopes(row.scopes.split())
