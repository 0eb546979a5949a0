"""What the callback commands do. A signing secret is printed once, by the command that made it."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import typer

from worker.callbacks import endpoints, overview
from worker.callbacks import parked as parked_callbacks
from worker.callbacks.addresses import Address, HttpAddress, TaskAddress, parse_address
from worker.callbacks.endpoints import DEFAULT, NewEndpoint
from worker.callbacks.lines import open_line
from worker.callbacks.overview import EndpointStanding
from worker.callbacks.payload import trial_letter
from worker.callbacks.signing import checked_secret, new_secret
from worker.cli import display
from worker.cli.callback_page import show_callbacks, show_endpoints
from worker.cli.workplace import wake_callbacks, workplace
from worker.database import snapshot, transaction
from worker.domain.errors import InvalidRequest, NotFound
from worker.parts import Parts

#: How many callbacks one transaction deletes.
REMOVED_AT_ONCE = 5000


def list_them(*, as_json: bool) -> None:
    with workplace() as parts:
        now = parts.clock()
        found = _standings(parts)
        not_used_yet = parts.settings.callback_url is not None and all(one.name != DEFAULT for one in found)
    if as_json:
        display.print_json({"endpoints": [endpoint.as_json() for endpoint in found]})
        return
    if found:
        show_endpoints(found, now)
    elif not not_used_yet:
        display.say("There is no endpoint yet. Add one: truetick callbacks add NAME https://…")
    if not_used_yet:
        display.say("The one in TRUETICK_CALLBACK_URL is there as soon as a worker runs: truetick up")


def add(name: str, address: str, *, secret: str | None, as_json: bool) -> None:
    where = parse_address(address)
    kept = _secret_for(where, secret)
    with workplace() as parts:
        written = where.url if isinstance(where, HttpAddress) else where.masked
        new = NewEndpoint(
            name=name, address=written, secret_encrypted=parts.vault.seal(kept) if kept is not None else None
        )
        with transaction(parts.engine) as connection:
            endpoints.add(connection, new, parts.clock())
        said = f"Endpoint {name} ({where.masked}) is told what happens from now on."
        _answer(parts, name, said, made=kept if secret is None else None, as_json=as_json)
    if not as_json:
        display.say(f"See whether it works with: truetick callbacks test {name}")


def set_secret(name: str, *, secret: str | None, as_json: bool) -> None:
    with workplace() as parts:
        with snapshot(parts.engine) as connection:
            row = endpoints.get(connection, name)
        if row.address is None:
            raise InvalidRequest(
                f"Endpoint {name} stands in the environment: set TRUETICK_CALLBACK_SECRET there.", code="no_secret"
            )
        kept = _secret_for(parse_address(row.address), secret)
        if kept is None:
            raise _no_secret_needed()
        with transaction(parts.engine) as connection:
            endpoints.replace_secret(connection, row.id, parts.vault.seal(kept), parts.clock())
        said = f"From now on callbacks to {name} are signed with its new secret."
        _answer(parts, name, said, made=kept if secret is None else None, as_json=as_json)


def remove(name: str, *, yes: bool, as_json: bool) -> None:
    with workplace() as parts:
        with snapshot(parts.engine) as connection:
            row = endpoints.get(connection, name)
        untold = sum(one.waiting + one.parked for one in _standings(parts) if one.name == name)
        if untold and not yes:
            changes = "1 change" if untold == 1 else f"{untold} changes"
            raise InvalidRequest(
                f"Endpoint {name} has not been told {changes}, which would be lost to it. "
                f"If that is right, run: truetick callbacks remove {name} --yes",
                code="not_told_everything",
            )
        _remove(parts, row.id)
    if as_json:
        display.print_json({"removed": name, "untold": untold})
        return
    display.say(f"Endpoint {name} is removed.")
    if row.address is None:
        display.say(
            "As long as TRUETICK_CALLBACK_URL is set, workers begin anew with it, from now on.", style="yellow"
        )


def _remove(parts: Parts, endpoint_id: int) -> None:
    """What it has been told goes first, in pieces, so that nobody has to wait for long."""
    while True:
        with transaction(parts.engine) as connection:
            if endpoints.forget_callbacks(connection, endpoint_id, REMOVED_AT_ONCE) < REMOVED_AT_ONCE:
                break
    with transaction(parts.engine) as connection:
        if endpoints.lock(connection, endpoint_id) is not None:
            endpoints.remove(connection, endpoint_id)


def undelivered(state: str, name: str | None, *, limit: int, as_json: bool) -> None:
    with workplace() as parts, snapshot(parts.engine) as connection:
        now = parts.clock()
        if name is not None:
            endpoints.get(connection, name)
        found = overview.undelivered(connection, state=state, endpoint=name, limit=limit)
    if as_json:
        display.print_json({"callbacks": [callback.as_json() for callback in found]})
        return
    if not found:
        display.say("No callback waits." if state == "waiting" else "No callback is parked.")
        return
    show_callbacks(found, now)
    if len(found) == limit:
        display.say(f"These are the oldest {limit}; --limit shows more.")


def replay(name: str, *, since: datetime | None, as_json: bool) -> None:
    replayed = 0
    with workplace() as parts:
        with snapshot(parts.engine) as connection:
            row = endpoints.get(connection, name)
        while True:
            with transaction(parts.engine) as connection:
                if endpoints.lock(connection, row.id) is None:
                    break
                now = parts.clock()
                woken = parked_callbacks.replay(connection, row.id, now, since=since)
                endpoints.try_now(connection, row.id, now)
            replayed += woken
            if woken < parked_callbacks.BATCH:
                break
        wake_callbacks()
    if as_json:
        display.print_json({"endpoint": name, "replayed": replayed})
    else:
        count = "1 callback is" if replayed == 1 else f"{replayed} callbacks are"
        display.say(f"{count} told to {name} again." if replayed else f"No callback to {name} is parked.")


def try_out(name: str, *, as_json: bool) -> bool:
    """Tell an endpoint nothing, once. True when it was taken."""
    with workplace() as parts:
        line = open_line(parts, _row(parts, name))
        now = parts.clock()
        letter = trial_letter(name, now)
        try:
            verdict = line.tell(letter, now)
        finally:
            line.close()
    if as_json:
        told = {"endpoint": name, "id": letter.id, "delivered": verdict.is_delivered, "problem": verdict.problem}
        display.print_json(told)
    elif verdict.problem is None:
        display.say(f"Endpoint {name} has taken it ({letter.id}).", style="green")
    else:
        display.say(f"Endpoint {name} has not taken it: {verdict.problem}", style="red")
    return verdict.is_delivered


def _row(parts: Parts, name: str) -> Any:
    """The endpoint's row; for the environment's, which has none before a worker has run, what it will be."""
    try:
        with snapshot(parts.engine) as connection:
            return endpoints.get(connection, name)
    except NotFound:
        if name != DEFAULT or parts.settings.callback_url is None:
            raise
        return SimpleNamespace(name=name, address=None, secret_encrypted=None)


def _standings(parts: Parts) -> list[EndpointStanding]:
    given = parts.settings.callback_url
    with snapshot(parts.engine) as connection:
        return overview.standings(connection, environment=given.get_secret_value() if given else None)


def _answer(parts: Parts, name: str, said: str, *, made: str | None, as_json: bool) -> None:
    if as_json:
        [endpoint] = [one for one in _standings(parts) if one.name == name]
        display.print_json(endpoint.as_json() | ({"secret": made} if made else {}))
        return
    display.say(said)
    if made:
        display.say("Its signing secret, which is not shown again:")
        typer.echo(made)


def _secret_for(address: Address, given: str | None) -> str | None:
    """The secret to sign with: the one that is given, or a fresh one; None for a Celery task, which has none."""
    if isinstance(address, TaskAddress):
        if given is not None:
            raise _no_secret_needed()
        return None
    return new_secret() if given is None else checked_secret(given)


def _no_secret_needed() -> InvalidRequest:
    return InvalidRequest(
        "A Celery task is not signed: whoever may publish on the broker is trusted. Leave the secret out.",
        code="no_secret",
    )
