"""Why a pending message is still pending, in one code and one sentence."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from worker.domain.channel_state import KEY_ROTATION, ChannelState, remedy
from worker.domain.durations import briefly
from worker.domain.message_status import MessageState
from worker.domain.pace import Pacing
from worker.domain.time_zone import clock_of

#: A slot that is further away than the longest jitter is nobody's chance: WaSender asked to wait.
LONGEST_JITTER = timedelta(hours=1)


@dataclass(frozen=True)
class PendingReason:
    code: str
    sentence: str
    #: What a person can do; None where waiting is all there is to do.
    action: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChannelView:
    """What must be known of a channel to explain a message that waits for it."""

    name: str
    state: ChannelState
    reason: str
    next_slot_at: datetime | None
    failures: int
    #: Messages without a tick, and how many there may be.
    unacked: int = 0
    unacked_window: int = 1
    #: From WaSender's answer to the tick, as a rule.
    tick_latency_s: float = 0.0
    pacing: Pacing

    def rests(self, now: datetime) -> PendingReason | None:
        """Why sending rests for longer than the pace wants; None where the pace alone decides, or trouble does."""
        slot = self.next_slot_at
        if slot is None or not self.pacing.is_beyond_turn(slot, now):
            return None
        if self.pacing.is_used_up(now):
            return PendingReason(
                "daily_cap",
                f"The channel has used up the {self.pacing.daily_cap} messages that it may send in one day (UTC); "
                f"sending goes on at {slot:%Y-%m-%d %H:%M:%S} UTC.",
            )
        by_chance = not self.pacing.was_refused and slot <= now + LONGEST_JITTER
        if self.failures or by_chance:
            return None
        return PendingReason("throttled", f"WaSender asked to wait; sending goes on at {slot:%H:%M:%S} UTC.")

    @property
    def window_step(self) -> timedelta:
        """From one message to the next as the window lets them out: each tick makes room for another one."""
        return timedelta(seconds=self.tick_latency_s / max(1, self.unacked_window))

    @property
    def slowness(self) -> str | None:
        """What is said of a channel that sends more slowly than its pace; None for one that keeps it."""
        if not self.pacing.is_slowed:
            return None
        return (
            f"WaSender refused messages as too many although the pace {self.pacing.pace} was kept, so the channel "
            f"sends one every {briefly(self.pacing.interval)} for now; each one that is taken speeds it up again."
        )


_CHANNEL_CODES = {
    ChannelState.UNKNOWN: ("channel_unverified", "The channel has not been checked yet."),
    ChannelState.DOWN: ("channel_down", "The channel's WhatsApp session is not connected"),
    ChannelState.MUTE: (
        "channel_mute",
        "WaSender says connected, but WhatsApp ticks nothing on this channel.",
    ),
    ChannelState.BLOCKED: ("channel_blocked", "WaSender refuses this channel"),
    ChannelState.PAUSED: ("channel_paused", "A person paused the channel."),
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What must be known of a message to explain why it is pending."""

    id: str
    state: MessageState
    due_at: datetime
    #: Why a person should look at it; None while Truetick can find out by itself.
    attention: str | None = None
    #: Accepted shortly before or during an outage of its channel.
    perhaps_swallowed: bool = False
    #: Another message to its recipient has to be settled first.
    recipient_waits: bool = False
    #: WaSender refused it lately without that counting as an attempt, so others go first.
    refused: bool = False
    #: Why `due_at` was moved on (quiet_hours or first_contacts), and the zone whose quiet hours it heeds.
    held_by: str | None = None
    quiet_zone: str | None = None


def pending_reason(message: Standing, channel: ChannelView, now: datetime) -> PendingReason | None:
    """The reason, or None for a message that is not pending."""
    if message.state is MessageState.IN_DOUBT:
        return _doubtful(message)
    if message.state is MessageState.ACCEPTED:
        return _unticked(message)
    if message.state is MessageState.SENDING:
        return PendingReason("sending", "It is being handed to WaSender right now.")
    return _waiting(message, channel, now) if message.state is MessageState.QUEUED else None


#: The attention of a message whose channel has been out for long; it is judged once the channel is back.
CHANNEL_OUT = "channel_out"
_OUT = (
    "Its channel has been out for long, so nothing can be found out for now. Once it is back, Truetick decides by "
    "itself; until then a person may."
)


def _doubtful(message: Standing) -> PendingReason:
    said = "An attempt ended without an answer, so it may or may not have gone out."
    if message.attention is None:
        return PendingReason(
            "in_doubt", f"{said} Truetick looks for evidence; it is not sent again blindly, nor is it dropped."
        )
    if message.attention == CHANNEL_OUT:
        return PendingReason("in_doubt", f"{said} {_OUT}", _DECIDE)
    return PendingReason("in_doubt", f"{said} No evidence was found, so a person has to decide.", _DECIDE)


def _unticked(message: Standing) -> PendingReason:
    if message.attention == CHANNEL_OUT:
        return PendingReason("no_tick", f"WaSender took it; WhatsApp has not ticked it. {_OUT}", _DECIDE)
    if message.attention is not None:
        return PendingReason(
            "no_tick",
            "WaSender took it, but WhatsApp has never ticked it, so it has most likely not arrived.",
            _DECIDE,
        )
    if message.perhaps_swallowed:
        return PendingReason(
            "awaiting_tick",
            "WaSender took it around an outage of its channel; WhatsApp has not ticked it. Once the channel has been "
            "up again for a while, Truetick asks once more and then decides.",
        )
    return PendingReason("awaiting_tick", "WaSender took it; WhatsApp has not ticked it yet.")


_DECIDE = (
    "Ask the recipient or look at the phone's chat. Not there: truetick resend ID. "
    "There, or no longer needed: truetick cancel ID."
)


def _held(message: Standing, held_by: str) -> PendingReason:
    at = f"{message.due_at:%Y-%m-%d %H:%M:%S} UTC"
    if held_by == "quiet_hours":
        zone = (message.quiet_zone or "UTC").partition(" ")[0]
        local = f"{message.due_at.astimezone(clock_of(zone)):%H:%M}"
        return PendingReason(
            held_by, f"The recipient's quiet hours last until {local} there ({zone}); it goes out from {at} on."
        )
    return PendingReason(
        held_by,
        "The channel has used up the people whom it may write to for the first time in one day (UTC); "
        f"this one follows from {at} on.",
    )


def _waiting(message: Standing, channel: ChannelView, now: datetime) -> PendingReason:
    if message.due_at > now:
        if message.held_by is not None:
            return _held(message, message.held_by)
        return PendingReason("scheduled", f"It is not due before {message.due_at:%Y-%m-%d %H:%M:%S} UTC.")
    if channel.state is not ChannelState.UP:
        code, sentence = _CHANNEL_CODES[channel.state]
        if channel.state is ChannelState.PAUSED and channel.reason == KEY_ROTATION:
            sentence = "The channel rests while its key is replaced."
        if not sentence.endswith("."):
            sentence = f"{sentence} ({channel.reason})." if channel.reason else f"{sentence}."
        return PendingReason(code, sentence, remedy(channel.state, channel.reason, channel.name))
    if message.recipient_waits:
        return PendingReason(
            "recipient_waits", "Another message to this recipient has to be settled first, so that order is kept."
        )
    if message.refused:
        return PendingReason(
            "retrying",
            "WaSender refused it, though nothing is known to be wrong with the channel. It is tried again by itself, "
            "and other people's messages go first meanwhile.",
        )
    why = channel.rests(now)
    if why is None and channel.unacked >= channel.unacked_window:
        return PendingReason(
            "window_full",
            f"WaSender has {channel.unacked} message(s) of this channel that WhatsApp has not ticked yet; "
            "sending goes on with the next tick.",
        )
    if why is None and channel.failures:
        return PendingReason("retrying", "WaSender is not answering well; sending goes on after a pause.")
    why = why or PendingReason("paced", "It waits for its turn at the channel's pace.")
    return why if channel.slowness is None else replace(why, sentence=f"{why.sentence} {channel.slowness}")
