"""What the channel commands do: show how the channels stand, and add, pause or resume one."""

from datetime import datetime

from sqlalchemy import Connection

from worker.channels import overview, registry, states
from worker.channels.overview import ChannelStanding
from worker.channels.registry import NewChannel
from worker.cli import channel_page, display
from worker.cli.workplace import NOT_CHECKED, Workers, ask_for_check, workplace
from worker.database import snapshot, transaction
from worker.domain.channel_state import DEFAULT_CHANNEL, ChannelState
from worker.domain.errors import InvalidRequest
from worker.domain.pace import Pace
from worker.parts import Parts

LONGEST_SECRET = 512


def status(*, as_json: bool) -> bool:
    """Show how the channels stand; True when messages flow on every channel that is used."""
    with workplace() as parts:
        found, now = standings(parts)
    if as_json:
        display.print_json(overview.as_json(found))
    else:
        channel_page.show(found, now)
        channel_page.advise(found)
    return overview.all_flowing(found)


def list_them(*, as_json: bool) -> None:
    with workplace() as parts:
        found, now = standings(parts)
    if as_json:
        display.print_json({"channels": [channel.as_json() for channel in found]})
    else:
        channel_page.show(found, now)


def add(
    name: str,
    *,
    api_key: str,
    webhook_secret: str | None,
    session_id: int | None,
    pace: str,
    daily_cap: int | None,
    first_contacts: int | None,
    pool: str | None,
    as_json: bool,
) -> None:
    paced = Pace.parse(pace)
    key = _secret(api_key, "The API key")
    secret = _secret(webhook_secret, "The webhook secret") if webhook_secret else None
    with workplace() as parts:
        channel = NewChannel(
            name=name,
            pace=paced,
            daily_cap=daily_cap,
            first_contact_cap=first_contacts,
            pool=pool,
            api_key_encrypted=parts.vault.seal(key),
            webhook_secret_encrypted=parts.vault.seal(secret) if secret else None,
            gateway_session_id=session_id,
        )
        with transaction(parts.engine) as connection:
            registry.add(connection, channel, parts.clock())
        answer(parts, name, f"Channel {name} was added.", as_json=as_json, check=True)


def set_key(name: str, *, api_key: str, as_json: bool) -> None:
    key = _secret(api_key, "The API key")
    with workplace() as parts:
        sealed = parts.vault.seal(key)
        with transaction(parts.engine) as connection:
            channel_id = named(parts, connection, name)
            state = states.replace_key(connection, channel_id, sealed, now=parts.clock())
        paused = state is ChannelState.PAUSED
        answer(
            parts,
            name,
            f"Channel {name} has its new key." + (" It stays paused." if paused else ""),
            as_json=as_json,
            check=not paused,
        )


def set_webhook_secret(name: str, *, secret: str, as_json: bool) -> None:
    kept = _secret(secret, "The webhook secret")
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            channel_id = named(parts, connection, name)
            registry.replace_webhook_secret(connection, channel_id, parts.vault.seal(kept))
        said = f"Webhooks for channel {name} are taken with its new secret, at /webhooks/wasender/{name}."
        answer(parts, name, said, as_json=as_json)


def pause(name: str, *, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            states.pause(connection, named(parts, connection, name), now=parts.clock())
        said = f"Channel {name} is paused. What was handed to WaSender before may still go out; the rest waits."
        answer(parts, name, said, as_json=as_json)


def resume(name: str, *, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            states.resume(connection, named(parts, connection, name), now=parts.clock())
        said = f"Channel {name} may go on, once WaSender says that it is connected."
        answer(parts, name, said, as_json=as_json, check=True)


def named(parts: Parts, connection: Connection, name: str) -> int:
    """The channel's id. The default one may be meant before the first worker or message has made it."""
    if name == DEFAULT_CHANNEL:
        given = parts.settings
        return registry.ensure_default(connection, given.pace, parts.clock(), daily_cap=given.daily_cap)
    return registry.channel_id(connection, name)


def standings(parts: Parts, only: str | None = None) -> tuple[list[ChannelStanding], datetime]:
    now, interval_s = parts.clock(), parts.settings.check_interval_s
    with snapshot(parts.engine) as connection:
        return overview.standings(connection, now=now, check_interval_s=interval_s, only=only), now


def answer(parts: Parts, name: str, said: str, *, as_json: bool, check: bool = False) -> None:
    workers = ask_for_check() if check else Workers.ANSWER
    if as_json:
        [channel], _ = standings(parts, only=name)
        display.print_json(channel.as_json())
        return
    display.say(said)
    if workers in NOT_CHECKED:
        display.say(NOT_CHECKED[workers], style="yellow")
    elif check:
        display.say("A worker is asking WaSender about it now. See the result with: truetick status")


def _secret(given: str, what: str) -> str:
    """Raises InvalidRequest for what cannot be a key; the message does not show it."""
    secret = given.strip()
    if not secret:
        raise InvalidRequest(f"{what} is empty. Copy it from the session's page in WaSender.", code="bad_secret")
    if len(secret) > LONGEST_SECRET or not all("!" <= char <= "~" for char in secret):
        raise InvalidRequest(
            f"{what} has spaces, letters beyond ASCII or more than {LONGEST_SECRET} characters. "
            "Copy it from the session's page in WaSender.",
            code="bad_secret",
        )
    return secret
