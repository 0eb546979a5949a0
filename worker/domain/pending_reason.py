"""Why a pending message is still pending, in one code and one sentence."""

from dataclasses import dataclass
from datetime import datetime

from worker.domain.channel_state import ChannelState, remedy
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace


@dataclass(frozen=True, kw_only=True)
class ChannelView:
    """What must be known of a channel to explain a message that waits for it."""

    name: str
    state: ChannelState
    reason: str
    next_slot_at: datetime | None
    failures: int
    pace: Pace

    def throttled_until(self, now: datetime) -> datetime | None:
        """When sending goes on, if WaSender asked to wait; None where the pace alone decides."""
        told_to_wait = not self.failures and self.next_slot_at and self.pace.is_beyond_turn(self.next_slot_at, now)
        return self.next_slot_at if told_to_wait else None


@dataclass(frozen=True)
class PendingReason:
    code: str
    sentence: str
    #: What a person can do; None where waiting is all there is to do.
    action: str | None = None


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


def pending_reason(
    state: MessageState, due_at: datetime, channel: ChannelView, now: datetime
) -> PendingReason | None:
    """The reason, or None for a message that is not pending."""
    if state is MessageState.IN_DOUBT:
        return PendingReason(
            "in_doubt",
            "An attempt ended without an answer, so it may or may not have gone out. It is not sent again blindly.",
            "Ask the recipient or look at the phone's chat before sending it again.",
        )
    if state is MessageState.ACCEPTED:
        return PendingReason("awaiting_tick", "WaSender took it; WhatsApp has not ticked it yet.")
    if state is MessageState.SENDING:
        return PendingReason("sending", "It is being handed to WaSender right now.")
    if state is not MessageState.QUEUED:
        return None
    if due_at > now:
        return PendingReason("scheduled", f"It is not due before {due_at:%Y-%m-%d %H:%M:%S} UTC.")
    if channel.state is not ChannelState.UP:
        code, sentence = _CHANNEL_CODES[channel.state]
        if not sentence.endswith("."):
            sentence = f"{sentence} ({channel.reason})." if channel.reason else f"{sentence}."
        return PendingReason(code, sentence, remedy(channel.state, channel.reason, channel.name))
    if channel.failures:
        return PendingReason("retrying", "WaSender is not answering well; sending goes on after a pause.")
    throttled_until = channel.throttled_until(now)
    if throttled_until:
        return PendingReason("throttled", waits_until(throttled_until))
    return PendingReason("paced", "It waits for its turn at the channel's pace.")


def waits_until(at: datetime) -> str:
    """What is said of a channel that WaSender has throttled."""
    return f"WaSender asked to wait; sending goes on at {at:%H:%M:%S} UTC."
