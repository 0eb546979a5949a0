"""The daily health check: what the last day was like, for the people who get the alarms. So that silence means
something: who hears nothing for a day knows that Truetick itself does not run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from worker.channels.overview import ChannelStanding, all_flowing, standings
from worker.courier import WITHIN_S, Errand, Notice
from worker.database import snapshot
from worker.domain.channel_state import ChannelState
from worker.outbox.rates import Rates, rates
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How many channels one notice describes, those with trouble first.
DESCRIBED = 20
#: How long alarms that are just being carried go first, in seconds.
LONGEST_WAIT_S = 4 * WITHIN_S


@dataclass(frozen=True, kw_only=True)
class Day:
    """One channel, and its last 24 hours."""

    channel: ChannelStanding
    rates: Rates

    @property
    def is_well(self) -> bool:
        return self.channel.flowing and not self.channel.attention


def check_health(parts: Parts) -> Notice | None:
    """Look at all channels, log how each stands, and have people told. None where there is nothing to tell of."""
    now = parts.clock()
    with snapshot(parts.engine) as connection:
        channels = standings(connection, now=now, check_interval_s=parts.settings.check_interval_s)
        counted = rates(connection, [channel.id for channel in channels], now=now)
    days = [Day(channel=channel, rates=counted[channel.id][1]) for channel in channels if not channel.unused]
    for day in days:
        _log(day)
    if not days:
        return None
    notice = _notice(days)
    waited_s = 0.0
    while parts.courier.busy and waited_s < LONGEST_WAIT_S and not parts.stopping.wait(0.5):
        waited_s += 0.5
    parts.courier.carry([Errand(notice=notice, told=lambda: log.info("daily_health_told"))])
    return notice


def _log(day: Day) -> None:
    log.info(
        "daily_health",
        channel=day.channel.name,
        state=day.channel.shown_state,
        reason=day.channel.reason,
        sent=day.rates.sent,
        failed=day.rates.failed,
        pending=day.channel.pending,
        attention=day.channel.attention,
    )


def _notice(days: Sequence[Day]) -> Notice:
    ailing = [day for day in days if not day.is_well]
    well = [day for day in days if day.is_well]
    if not ailing:
        title = "Truetick: all is well" if len(days) > 1 else f"Truetick: channel {days[0].channel.name} is well"
    elif all_flowing([day.channel for day in days]):
        title = "Truetick: messages wait for a person"
    else:
        silent = sum(not day.channel.flowing for day in days)
        title = f"Truetick: {silent} of {len(days)} channels do not send well"
    paragraphs = ["\n".join(_lines(day)) for day in (*ailing, *well)[:DESCRIBED]]
    if len(days) > DESCRIBED:
        paragraphs.append(f"And {len(days) - DESCRIBED} more. See: truetick status")
    return Notice(title=title, body="\n\n".join(paragraphs), good=not ailing)


def _lines(day: Day) -> Iterator[str]:
    channel, counted = day.channel, day.rates
    reason = f" ({channel.reason})" if channel.reason and channel.state is not ChannelState.UP else ""
    least = "at least " if counted.partial else ""
    yield f"Channel {channel.name} is {channel.shown_state}{reason}."
    yield (
        f"In the last 24 hours: {least}{counted.sent} sent (ticked by WhatsApp), {counted.failed} failed. "
        f"{channel.pending} pending now."
    )
    if channel.attention:
        yield f"{channel.attention} of them for a person to decide. See: truetick messages, truetick why ID"
    if channel.action:
        yield f"What to do: {channel.action}"
    if channel.note:
        yield channel.note
