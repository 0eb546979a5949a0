"""How channels are shown on a terminal: a table, one channel in full, and what to do about those that cannot send."""

from collections.abc import Sequence
from datetime import datetime

from worker.channels import overview
from worker.channels.overview import ChannelStanding
from worker.cli import display

_COUNTED = (">pending", ">unacked", ">in doubt")


def show(found: Sequence[ChannelStanding], now: datetime) -> None:
    if not found:
        display.say("There is no channel yet. Set WASENDER_API_KEY and run: truetick up")
        display.say("Or add one: truetick channels add NAME")
        return
    pools = any(channel.pool for channel in found)
    display.table(
        ["channel", *(["pool"] if pools else []), *("state", "since", "checked"), *_COUNTED, "pace"],
        [
            [
                channel.name,
                *([channel.pool or ""] if pools else []),
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


def show_one(channel: ChannelStanding, now: datetime, *, session_id: int | None, own_key: bool, secret: bool) -> None:
    """All that is known of a channel but its secrets."""
    state = "unknown" if channel.state == "up" and not channel.flowing else channel.state
    display.facts(
        [
            ("channel", channel.name),
            ("pool", channel.pool or "none: it stands alone"),
            ("state", display.styled(state, _state(channel))),
            ("since", display.ago(channel.since, now)),
            ("checked", display.ago(channel.checked_at, now)),
            ("pace", _pace(channel)),
            ("pending", f"{channel.pending} ({channel.unacked} unacked, {channel.in_doubt} in doubt)"),
            ("window", f"{channel.unacked_window} may be without a tick"),
            ("last tick", display.ago(channel.last_tick_at, now)),
            ("webhooks", f"{channel.webhooks.value}, the last one {display.ago(channel.last_webhook_at, now)}"),
            ("api key", "its own, encrypted" if own_key else "the one in the workers' environment"),
            ("webhook secret", "set" if secret else "none of its own"),
            ("session", str(session_id) if session_id else "not known yet"),
        ]
    )
    for said in (channel.action, channel.note):
        if said:
            display.say(said, style="yellow")


def _pace(channel: ChannelStanding) -> str:
    pacing = channel.pacing
    cap = f", {channel.posts_today} of {pacing.daily_cap} today" if pacing.daily_cap else ""
    people = channel.first_contact_cap
    strangers = f", {channel.first_contacts_today} of {people} new people" if people else ""
    slowed = f", {pacing.slowdown:.1f} times slower" if pacing.is_slowed else ""
    return f"{pacing.pace}{slowed}{cap}{strangers}"


def _state(channel: ChannelStanding) -> str:
    if channel.state == "up":
        if not channel.verified:
            return "up (unverified)"
        return "up" if channel.flowing else "up (not flowing)"
    return f"{channel.state} ({channel.reason})" if channel.reason else channel.state


def advise(found: Sequence[ChannelStanding]) -> None:
    counted = [channel for channel in found if not channel.unused] or found
    for channel in counted:
        if channel.action:
            display.say(f"{channel.name}: {channel.action}", style="yellow")
        if channel.note:
            display.say(f"{channel.name}: {channel.note}", style="yellow")
    if overview.all_flowing(found):
        display.say("All channels are up.", style="green")
    elif overview.all_up(found):
        held_up = sum(not channel.flowing for channel in counted)
        display.say(f"All channels are up, but messages do not flow on {held_up} of {len(counted)}.", style="red")
    elif found:
        cannot = sum(not channel.sends for channel in counted)
        display.say(f"{cannot} of {len(counted)} channels cannot be relied on to send.", style="red")
