"""What the token commands do. A key is printed once, by the command that made it, and kept nowhere."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import typer
from rich.text import Text

from worker import access_tokens
from worker.access_tokens import Token
from worker.cli import display
from worker.cli.workplace import workplace
from worker.database import snapshot, transaction
from worker.domain.access import Scope, written
from worker.domain.durations import lasting
from worker.parts import Parts


def list_them(*, as_json: bool) -> None:
    with workplace() as parts:
        now = parts.clock()
        found = _all(parts)
    if as_json:
        display.print_json({"tokens": [_json(token, now) for token in found]})
    elif not found:
        display.say("There is no token yet. Make one: truetick tokens add NAME --scope send --scope read")
    else:
        _show(found, now)


def add(name: str, scopes: frozenset[Scope], *, expires_in: timedelta | None, as_json: bool) -> None:
    with workplace() as parts:
        now = parts.clock()
        expires_at = now + expires_in if expires_in is not None else None
        with transaction(parts.engine) as connection:
            key = access_tokens.add(connection, name, scopes, now=now, expires_at=expires_at)
        _answer(parts, name, f"Token {name} was made. It opens: {written(scopes)}.", now, key=key, as_json=as_json)


def rotate(name: str, *, overlap: timedelta, expires_in: timedelta | None, as_json: bool) -> None:
    with workplace() as parts:
        now = parts.clock()
        expires_at = now + expires_in if expires_in is not None else None
        with transaction(parts.engine) as connection:
            key = access_tokens.rotate(connection, name, now=now, overlap=overlap, expires_at=expires_at)
        _answer(parts, name, f"Token {name} has a new key.", now, key=key, as_json=as_json)


def revoke(name: str, *, as_json: bool) -> None:
    with workplace() as parts:
        now = parts.clock()
        with transaction(parts.engine) as connection:
            access_tokens.revoke(connection, name, now=now)
        _answer(
            parts, name, f"Token {name} is revoked; it opens nothing more within ten seconds.", now, as_json=as_json
        )


def _all(parts: Parts) -> list[Token]:
    with snapshot(parts.engine) as connection:
        return access_tokens.all_tokens(connection)


def _answer(parts: Parts, name: str, said: str, now: datetime, *, as_json: bool, key: str | None = None) -> None:
    token = next(token for token in _all(parts) if token.name == name)
    if as_json:
        display.print_json(_json(token, now) | ({"key": key} if key else {}))
        return
    display.say(said)
    if token.former_until is not None and token.former_until > now:
        display.say(f"The former key opens for {lasting(token.former_until - now)} more.")
    if key:
        display.say("Its key is shown this once. Keep it where only the CRM can read it:")
        typer.echo(key)


def _json(token: Token, now: datetime) -> dict[str, Any]:
    return {
        "name": token.name,
        "state": token.state(now),
        "scopes": written(token.scopes).split(),
        "hint": token.hint,
        "created_at": _iso(token.created_at),
        "expires_at": _iso(token.expires_at),
        "revoked_at": _iso(token.revoked_at),
        "last_used_at": _iso(token.last_used_at),
        "former_key_until": _iso(token.former_until),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _show(found: Sequence[Token], now: datetime) -> None:
    colours = {"open": "up", "expired": "paused", "revoked": "failed"}
    rows: list[list[str | Text]] = []
    for token in found:
        state = token.state(now)
        ends = f"in {lasting(token.expires_at - now)}" if token.expires_at and state == "open" else ""
        used = display.ago(token.last_used_at, now)
        rows.append(
            [token.name, display.styled(colours[state], state), written(token.scopes), f"{token.hint}…", used, ends]
        )
    display.table(["name", "state", "opens", "key", "used", "ends"], rows)
