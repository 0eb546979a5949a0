"""Why a message is where it is: the chain of causes, whose turn it is, what to do and when it should go out."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.channels.overview import ChannelStanding, standings
from worker.domain.channel_state import ChannelState
from worker.domain.durations import lasting
from worker.domain.message_status import MessageState
from worker.domain.outcomes import OUTCOME_RULES, Cause
from worker.domain.quiet_hours import QuietHours
from worker.outbox import first_contacts
from worker.outbox.reading import MOST_COUNTED, Log, MessageView, attempt_log, event_log, get, messages_ahead

S = MessageState

#: What is known of a message that is not pending, and who could do something next.
_SETTLED = {
    S.SENT: ("WhatsApp's server has it (one tick); the recipient's phone has not confirmed it yet.", "recipient"),
    S.DELIVERED: ("It is on the recipient's phone (two ticks); nobody has opened it yet.", "recipient"),
    S.READ: ("The recipient has opened it.", "nobody"),
    S.FAILED: ("It failed for good.", "crm"),
    S.EXPIRED: ("Its time ran out before it could be sent.", "crm"),
    S.CANCELLED: ("It was withdrawn before it was sent.", "nobody"),
}
TURNS = {
    "scheduled": "truetick",
    "quiet_hours": "truetick",
    "first_contacts": "truetick",
    "paced": "truetick",
    "throttled": "wasender",
    "daily_cap": "truetick",
    "sending": "wasender",
    "retrying": "wasender",
    "awaiting_tick": "whatsapp",
    "window_full": "whatsapp",
    "recipient_waits": "truetick",
}
#: What ends with something that comes when it comes: a tick, or another message's fate.
_NOBODY_KNOWS_WHEN = frozenset({"window_full", "recipient_waits"})


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """`because` is the chain of causes, the nearest first. `whose_turn` names who can move the message on:
    truetick, wasender, whatsapp, recipient, crm, person (somebody has to act) or nobody."""

    message: MessageView
    channel: ChannelStanding
    because: tuple[str, ...]
    whose_turn: str
    action: str | None
    #: How many go out before it once it is due; None unless it is queued. Counting stops at `MOST_COUNTED`.
    ahead: int | None
    #: When it should go out at the channel's pace; None when nobody can know.
    expected_at: datetime | None
    attempts: Log
    events: Log

    def as_json(self) -> dict[str, Any]:
        return {
            "message": self.message.as_json(),
            "because": list(self.because),
            "whose_turn": self.whose_turn,
            "action": self.action,
            "messages_ahead": self.ahead,
            "expected_at": self.expected_at.isoformat().replace("+00:00", "Z") if self.expected_at else None,
            "channel": self.channel.as_json(),
            "attempts": self.attempts.newest,
            "events": self.events.newest,
        }


def explain(
    connection: Connection,
    message_id: UUID,
    *,
    now: datetime,
    check_interval_s: float,
    quiet_hours: QuietHours | None = None,
) -> Explanation:
    """`quiet_hours` are those that are configured. Raises NotFound."""
    message = get(connection, message_id, now)
    [channel] = standings(connection, now=now, check_interval_s=check_interval_s, only=message.channel.name)
    ahead, expected_at = None, None
    if message.state is S.QUEUED:
        ahead = messages_ahead(connection, message, channel.id, max(now, message.due_at))
        waits = message.pending is not None and message.pending.code in _NOBODY_KNOWS_WHEN
        if channel.sends and ahead < MOST_COUNTED and not waits:
            with suppress(OverflowError):  # of a time so far away nobody knows either
                its_slot = _turn_at(connection, message, channel, ahead, now)
                expected_at = _not_held(connection, message, channel, its_slot, quiet_hours)
    attempts = attempt_log(connection, message.seq)
    turn, action = _turn(message, channel)
    return Explanation(
        message=message,
        channel=channel,
        because=tuple(_because(message, channel, attempts.newest, ahead, expected_at, now)),
        whose_turn=turn,
        action=action,
        ahead=ahead,
        expected_at=expected_at,
        attempts=attempts,
        events=event_log(connection, message.seq),
    )


def _because(
    message: MessageView,
    channel: ChannelStanding,
    attempts: list[dict[str, Any]],
    ahead: int | None,
    expected_at: datetime | None,
    now: datetime,
) -> Iterator[str]:
    if message.pending:
        yield message.pending.sentence
    else:
        yield _SETTLED[message.state][0]
    if message.error_message:
        yield message.error_message
    if attempts and message.state in {S.QUEUED, S.IN_DOUBT, S.FAILED}:
        yield _last_attempt(attempts[-1], message)
    if message.pending and not channel.sends and channel.state is not ChannelState.UNKNOWN:
        yield _channel_sentence(channel, now)
    late = message.due_at <= now or (expected_at is not None and expected_at > message.due_at)
    if ahead is not None and late and message.channel.state is not ChannelState.PAUSED:
        yield _queue_sentence(message, channel, ahead, now)
    if expected_at is not None and message.expires_at is not None and message.expires_at <= expected_at:
        yield f"Before its turn comes, at {message.expires_at:%Y-%m-%d %H:%M:%S} UTC, its time runs out: it expires."


def _last_attempt(attempt: dict[str, Any], message: MessageView) -> str:
    try:
        sentence = OUTCOME_RULES[Cause(attempt["cause"])].sentence
    except ValueError:
        sentence = f"Its outcome was {attempt['outcome']} ({attempt['cause']})."
    said = f' WaSender\'s words: "{attempt["detail"]}".' if attempt["detail"] else ""
    if message.error_message == sentence:
        return f"That came from attempt {attempt['number']}.{said}"
    return f"Attempt {attempt['number']}: {sentence}{said}"


def _channel_sentence(channel: ChannelStanding, now: datetime) -> str:
    if channel.state is ChannelState.PAUSED:
        return f"Channel {channel.name} has been paused for {lasting(now - channel.since)}."
    asked = (
        f"WaSender last answered about it {lasting(now - channel.checked_at)} ago"
        if channel.checked_at
        else "WaSender has never answered about it"
    )
    reason = f" ({channel.reason})" if channel.reason and channel.state is not ChannelState.UP else ""
    doubt = ", so that is not certain" if channel.state is ChannelState.UP else ""
    return (
        f"Channel {channel.name} has been {channel.state}{reason} for {lasting(now - channel.since)}; {asked}{doubt}."
    )


def _queue_sentence(message: MessageView, channel: ChannelStanding, ahead: int, now: datetime) -> str:
    once = "" if channel.sends else ", once the channel sends"
    slot = message.channel.next_slot_at
    rests = channel.sends and slot is not None and message.channel.pacing.is_beyond_turn(slot, now)
    if rests:
        once = f", counted from {slot:%H:%M:%S} UTC"
    if not ahead:
        return f"It is the next one on this channel{'' if rests else once}."
    count = f"More than {MOST_COUNTED} messages go" if ahead >= MOST_COUNTED else f"{ahead} messages go"
    before = "One message goes" if ahead == 1 else count
    pacing = message.channel.pacing
    first = max(now, slot or now)
    try:
        takes = lasting(pacing.slot_in_turn(first, ahead, at_least=message.channel.window_step) - first)
    except OverflowError:
        takes = "thousands of years"
    cap = f" and at most {pacing.daily_cap} a day" if pacing.daily_cap else ""
    return f"{before} out before it on this channel; at the pace {pacing.pace}{cap} that takes {takes}{once}."


def _turn(message: MessageView, channel: ChannelStanding) -> tuple[str, str | None]:
    if message.pending is None:
        return _SETTLED[message.state][1], None
    waits_for_time = message.pending.code in {"scheduled", "quiet_hours", "first_contacts"}
    waits_for_channel = message.state is S.QUEUED and not waits_for_time
    if waits_for_channel and not channel.sends:
        by_itself = channel.verified and channel.reason == "connecting"
        return ("wasender" if by_itself else "person"), channel.action
    action = message.pending.action or (None if channel.sends else channel.action)
    if message.pending.code == "in_doubt" and message.attention is None:
        return "truetick", action
    return TURNS.get(message.pending.code, "person"), action


def _turn_at(
    connection: Connection, message: MessageView, channel: ChannelStanding, ahead: int, now: datetime
) -> datetime:
    """Its turn after all before it; one that is scheduled goes with those that are due at the same time, at least."""
    pacing, step = message.channel.pacing, message.channel.window_step
    first_slot = max(now, message.channel.next_slot_at or now)
    turn = pacing.slot_in_turn(first_slot, ahead, at_least=step)
    if message.due_at <= now:
        return turn
    with_it = messages_ahead(connection, message, channel.id, message.due_at, since=message.due_at)
    return max(turn, pacing.slot_in_turn(max(first_slot, message.due_at), with_it, at_least=step))


def _not_held(
    connection: Connection,
    message: MessageView,
    channel: ChannelStanding,
    turn: datetime,
    quiet_hours: QuietHours | None,
) -> datetime:
    """When it may go out at the earliest if its turn comes then: after quiet hours, within a day's first contacts."""
    if message.first_contact and message.recipient is not None:
        turn = first_contacts.stranger_waits_until(connection, channel.id, message.recipient, turn) or turn
    if quiet_hours is not None and message.quiet_zone is not None:
        turn = quiet_hours.until(turn, message.quiet_zone) or turn
    return turn
