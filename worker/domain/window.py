"""The unacknowledged window: how many accepted messages may lack a tick, and when silence means that none will come.

As in TCP: a channel starts with a window of one, each tick lets one more out, so the window doubles with every round.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.retry import backoff_s

#: A channel that is slow but ticks is given this many times its usual latency before its silence counts.
SLOW_FACTOR = 3.0
LONGEST_PATIENCE_S = 600.0
#: A tick that comes later than this is no slow channel's.
LONGEST_LATENCY_S = LONGEST_PATIENCE_S / SLOW_FACTOR
#: How much one new latency moves the smoothed one.
LATENCY_GAIN = 0.25
#: The longest pause between two single messages that are tried on a mute channel.
LONGEST_PROBE_PAUSE_S = 900.0
#: A silence that WaSender could not even be asked about has to last this much longer.
UNASKED_FACTOR = 3.0
#: So many questions without an answer take about a minute.
UNANSWERED_QUESTIONS = 6
#: One silent message says more about its recipient than about the channel, so it has to be silent this much longer.
SINGLE_FACTOR = 2.0


def grown(window: int, ticks: int, most: int) -> int:
    """The window after `ticks` messages got their first tick."""
    return max(1, min(most, window + ticks))


def smoothed(latency_s: float, sample_s: float) -> float:
    """The usual time from acceptance to tick after one more sample; 0 stands for "none yet"."""
    sample_s = max(0.0, sample_s)
    return sample_s if latency_s <= 0 else latency_s + LATENCY_GAIN * (sample_s - latency_s)


def patience_s(ack_timeout_s: float, latency_s: float) -> float:
    """How long a tick is waited for on a channel whose ticks usually take `latency_s`."""
    return max(ack_timeout_s, min(SLOW_FACTOR * latency_s, LONGEST_PATIENCE_S))


def ticked_through(
    overtaken_before: datetime | None, tick_latency_s: float, *, ack_timeout_s: float
) -> datetime | None:
    """When the latest-accepted one of the ticked messages was accepted; None before the first tick.

    `overtaken_before` lies a patience before.
    """
    patience = timedelta(seconds=patience_s(ack_timeout_s, tick_latency_s))
    return overtaken_before and overtaken_before + patience


def settle_s(least_s: float, ack_timeout_s: float, latency_s: float) -> float:
    """How long a channel has to be up again before a tick that has not come is taken for one that will not."""
    return max(least_s, patience_s(ack_timeout_s, latency_s))


def probe_pause_s(probes: int, ack_timeout_s: float) -> float:
    """How long the next single message has to wait after the `probes`-th one was tried on a mute channel."""
    return backoff_s(probes, first_s=ack_timeout_s, most_s=max(LONGEST_PROBE_PAUSE_S, ack_timeout_s))


@dataclass(frozen=True, kw_only=True)
class Silence:
    """What is unticked on a channel that calls itself connected. Ages are seconds since acceptance."""

    #: Messages without a tick that count for the window, and the recipients of those that are overdue.
    outstanding: int
    overdue_recipients: int
    oldest_s: float
    #: Has any message got its first tick within the time that a tick may take?
    ticked_lately: bool
    #: Has WaSender been asked about the oldest one after its time was over, and answered?
    asked: bool
    #: If not: has it been tried often enough? Where nobody asked, nobody could know of ticks.
    tried: bool = True


def is_mute(silence: Silence, *, window: int, patience_s: float) -> bool:
    """Do these messages prove that nothing gets through, although WaSender says connected?"""
    if silence.ticked_lately or not silence.overdue_recipients:
        return False
    if not silence.asked and (not silence.tried or silence.oldest_s < UNASKED_FACTOR * patience_s):
        return False
    full = silence.outstanding >= window
    return full or silence.overdue_recipients > 1 or silence.oldest_s >= SINGLE_FACTOR * patience_s
