"""What `truetick outages ID` shows: the story of an outage in sentences, then each message that was at risk."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.text import Text

from worker.channels.outage_audit import AtRisk, MessageAtRisk, OutageView
from worker.cli import display
from worker.domain.channel_state import ChannelState
from worker.domain.durations import lasting
from worker.domain.message_status import MessageState

#: How many messages are shown; JSON tells of more.
SHOWN = 50

#: What the beginning rests on.
_GROUNDS = {
    "last_tick": "or later: then WhatsApp ticked a message on this channel for the last time",
    "first_unticked": "when WaSender took the first message that got no tick",
    "last_check": "or later: then WaSender said for the last time that the channel was connected",
    "session_logs": "by WaSender's own session logs",
}
#: Who noticed it.
_NOTICED = {
    "status": "by asking WaSender",
    "webhook": "by a webhook of WaSender",
    "worker": "while sending",
    "info": "by asking WaSender about messages",
    "logs": "by WaSender's logs",
    "operator": "by a person",
}
#: What showed that it was over.
_ENDED = {
    "status": "WaSender said so when asked",
    "webhook": "a webhook of WaSender told of it",
    "worker": "messages were accepted again",
    "info": "WhatsApp ticked a message",
    "logs": "WaSender's logs told of it",
    "operator": "a person said so",
}


def show_outage(outage: OutageView, messages: Sequence[MessageAtRisk], now: datetime) -> None:
    display.say(f"Outage {outage.id} of channel {outage.channel}", style="bold")
    for sentence in story(outage, now):
        display.say(sentence)
    if outage.action:
        display.say(f"What to do: {outage.action}", style="yellow")
    display.say()
    display.say("Messages at risk", style="bold")
    for sentence in fate(outage.at_risk):
        display.say(sentence)
    if messages:
        display.say()
        _table(messages)
        if left_out := outage.at_risk.total - min(SHOWN, len(messages)):
            display.say(f"… and {left_out} more; --json tells of them.")


def story(outage: OutageView, now: datetime) -> Iterator[str]:
    """What happened, in the order in which it happened."""
    began_unseen = outage.began_by == "noticed"
    if not began_unseen:
        yield f"It began at {_at(outage.began_at)}, {_GROUNDS.get(outage.began_by, f'by {outage.began_by}')}."
    later = "" if began_unseen else f", {lasting(outage.noticing)} later"
    noticed = _NOTICED.get(outage.noticed_by, f"by {outage.noticed_by}")
    yield f"It was noticed at {_at(outage.noticed_at)}{later}, {noticed}: {_seen(outage)}."
    if began_unseen:
        yield "Nothing shows how long before that it began."
    yield _alarm(outage, now)
    if outage.restarted_at:
        result = f" The result: {outage.restart_result}." if outage.restart_result else ""
        yield f"WaSender was asked at {_at(outage.restarted_at)} to restart the session.{result}"
    if outage.ended_at is None:
        yield f"It is not over. It has lasted for {lasting(outage.duration)}."
    else:
        ended = _ENDED.get(outage.ended_by or "", f"learnt from {outage.ended_by}")
        yield f"It ended at {_at(outage.ended_at)}, after {lasting(outage.duration)}: {ended}."


def fate(risked: AtRisk) -> Iterator[str]:
    """Which messages an outage endangered, and what became of them."""
    if not risked.total:
        yield "None: nothing was at WaSender without a tick."
        return
    those = "1 message was" if risked.total == 1 else f"{risked.total} messages were"
    yield f"{those} at WaSender, or on the way there, without a tick. Now: {', '.join(sum_up(risked))}."
    if risked.unresolved:
        yield f"Of {risked.unresolved} it is not known yet whether WhatsApp has it."


def sum_up(risked: AtRisk) -> Iterator[str]:
    """ "2 delivered", "1 sent again"…: the states now, then what stands out."""
    yield from (f"{risked.by_state[state]} {_words(state)}" for state in MessageState if risked.by_state.get(state))
    if risked.resent:
        yield f"{risked.resent} sent again"
    if risked.duplicates:
        yield f"{risked.duplicates} duplicate{'' if risked.duplicates == 1 else 's'}"
    if risked.attention:
        yield f"{risked.attention} for a person to look at"


def how(outage: OutageView) -> str:
    return f"{outage.state} ({outage.reason})" if outage.reason else outage.state.value


def _seen(outage: OutageView) -> str:
    if outage.state is ChannelState.MUTE:
        return "WaSender said connected, but WhatsApp ticked nothing (mute)"
    return f"the channel was {how(outage)}"


def _alarm(outage: OutageView, now: datetime) -> str:
    if outage.alarmed_at:
        return f"People were told at {_at(outage.alarmed_at)}."
    if not outage.open:
        return "It was over before people had to be told."
    if outage.alarm_due_at is None:
        return "People are not told of it, for a person has paused the channel."
    if outage.alarm_due_at > now:
        return f"People are told at {_at(outage.alarm_due_at)}, if it is not over by then."
    return "People have not been told yet. Is a worker running (truetick up)?"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _words(state: MessageState) -> str:
    return state.value.replace("_", " ")


def _table(messages: Sequence[MessageAtRisk]) -> None:
    rows: list[list[str | Text]] = [
        [
            str(message.id),
            message.recipient,
            _words(message.state_then),
            display.styled(message.status, ", ".join(_now(message))),
        ]
        for message in messages[:SHOWN]
    ]
    display.table(["id", "to", "then", "now"], rows, whole=["id", "to", "then"])


def _now(message: MessageAtRisk) -> Iterator[str]:
    yield _words(message.state)
    if message.resends:
        yield "sent again" if message.resends == 1 else f"sent again {message.resends} times"
    if message.duplicates:
        yield "a duplicate" if message.duplicates == 1 else f"{message.duplicates} duplicates"
    if message.attention:
        yield f"for a person ({message.attention})"
