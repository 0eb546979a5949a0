"""What the channel commands do: show how the channels stand, and add, pause or resume one."""

from collections.abc import Sequence
from datetime import datetime

from worker.channels import overview, registry, states
from worker.channels.overview import ChannelStanding
from worker.channels.registry import NewChannel
from worker.cli import display
from worker.cli.workplace import Workers, ask_for_check, workplace
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.errors import InvalidRequest
from worker.domain.pace import Pace
from worker.parts import Parts

LONGEST_SECRET = 512


def status(*, as_json: bool) -> bool:
    """Show how the channels stand; True when messages flow on every channel with a key."""
    with workplace() as parts:
        found, now = _standings(parts)
    if as_json:
        display.print_json(overview.as_json(found))
    else:
        _show(found, now)
        _advise(found)
    return overview.all_flowing(found)


def list_them(*, as_json: bool) -> None:
    with workplace() as parts:
        found, now = _standings(parts)
    if as_json:
        display.print_json({"channels": [channel.as_json() for channel in found]})
    else:
        _show(found, now)


def add(
    name: str,
    *,
    api_key: str,
    webhook_secret: str | None,
    session_id: int | None,
    pace: str,
    daily_cap: int | None,
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
            api_key_encrypted=parts.vault.seal(key),
            webhook_secret_encrypted=parts.vault.seal(secret) if secret else None,
            gateway_session_id=session_id,
        )
        with transaction(parts.engine) as connection:
            registry.add(connection, channel, parts.clock())
        _answer(parts, name, f"Channel {name} was added.", as_json=as_json, check=True)


def set_key(name: str, *, api_key: str, as_json: bool) -> None:
    key = _secret(api_key, "The API key")
    with workplace() as parts:
        sealed = parts.vault.seal(key)
        with transaction(parts.engine) as connection:
            channel_id = registry.channel_id(connection, name)
            state = states.replace_key(connection, channel_id, sealed, now=parts.clock())
        paused = state is ChannelState.PAUSED
        _answer(
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
            channel_id = registry.channel_id(connection, name)
            registry.replace_webhook_secret(connection, channel_id, parts.vault.seal(kept))
        said = f"Webhooks for channel {name} are taken with its new secret, at /webhooks/wasender/{name}."
        _answer(parts, name, said, as_json=as_json)


def pause(name: str, *, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            states.pause(connection, registry.channel_id(connection, name), now=parts.clock())
        said = f"Channel {name} is paused. What was handed to WaSender before may still go out; the rest waits."
        _answer(parts, name, said, as_json=as_json)


def resume(name: str, *, as_json: bool) -> None:
    with workplace() as parts:
        with transaction(parts.engine) as connection:
            states.resume(connection, registry.channel_id(connection, name), now=parts.clock())
        said = f"Channel {name} may go on, once WaSender says that it is connected."
        _answer(parts, name, said, as_json=as_json, check=True)


def _standings(parts: Parts) -> tuple[list[ChannelStanding], datetime]:
    now, interval_s = parts.clock(), parts.settings.check_interval_s
    with snapshot(parts.engine) as connection:
        return overview.standings(connection, now=now, check_interval_s=interval_s), now


def _answer(parts: Parts, name: str, said: str, *, as_json: bool, check: bool = False) -> None:
    workers = ask_for_check() if check else Workers.ANSWER
    if as_json:
        found, _ = _standings(parts)
        display.print_json(next(channel.as_json() for channel in found if channel.name == name))
        return
    display.say(said)
    if workers is not Workers.ANSWER:
        display.say("No worker answers. It is checked once one runs: truetick up", style="yellow")
    elif check:
        display.say("A worker is asking WaSender about it now. See the result with: truetick status")


def _show(found: Sequence[ChannelStanding], now: datetime) -> None:
    if not found:
        display.say("There is no channel yet. Set WASENDER_API_KEY and run: truetick up")
        display.say("Or add one: truetick channels add NAME")
        return
    display.table(
        ["channel", "state", "since", "checked", ">pending", ">unacked", ">in doubt", "pace"],
        [
            [
                channel.name,
                display.styled(
                    "unknown" if channel.state == "up" and not channel.flowing else channel.state, _state(channel)
                ),
                display.ago(channel.since, now),
                display.ago(channel.checked_at, now),
                str(channel.pending),
                str(channel.unacked),
                str(channel.in_doubt),
                _pace(channel),
            ]
            for channel in found
        ],
        whole=["pace"],
    )


def _pace(channel: ChannelStanding) -> str:
    pacing = channel.pacing
    cap = f", {channel.posts_today} of {pacing.daily_cap} today" if pacing.daily_cap else ""
    slowed = f", {pacing.slowdown:.1f} times slower" if pacing.is_slowed else ""
    return f"{pacing.pace}{slowed}{cap}"


def _state(channel: ChannelStanding) -> str:
    if channel.state == "up":
        if not channel.verified:
            return "up (unverified)"
        return "up" if channel.flowing else "up (not flowing)"
    return f"{channel.state} ({channel.reason})" if channel.reason else channel.state


def _advise(found: Sequence[ChannelStanding]) -> None:
    for channel in found:
        if channel.action:
            display.say(f"{channel.name}: {channel.action}", style="yellow")
        if channel.note:
            display.say(f"{channel.name}: {channel.note}", style="yellow")
    if overview.all_flowing(found):
        display.say("All channels are up.", style="green")
    elif overview.all_up(found):
        held_up = sum(not channel.flowing for channel in found if channel.has_key)
        display.say(f"All channels are up, but messages do not flow on {held_up} of {len(found)}.", style="red")
    elif found:
        cannot = sum(not channel.sends for channel in found)
        display.say(f"{cannot} of {len(found)} channels cannot be relied on to send.", style="red")


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
