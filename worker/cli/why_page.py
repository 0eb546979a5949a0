"""What `truetick why` shows: the chain of causes first, then what happened, in the order it happened."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich.text import Text

from worker.cli import display
from worker.domain.durations import lasting
from worker.outbox.reading import Log, MessageView
from worker.why import Explanation

#: How many of the newest attempts and events are shown, besides the first one.
SHOWN = 15

Row = list[str | Text]

_TURNS = {
    "truetick": "Truetick's: nothing to do but wait",
    "wasender": "WaSender's: nothing to do but wait",
    "whatsapp": "WhatsApp's: its tick is awaited",
    "recipient": "the recipient's",
    "crm": "the CRM's: it has to send another message, if any",
    "person": "yours",
    "nobody": "nobody's: it is done",
}


def show_why(why: Explanation, now: datetime) -> None:
    message, channel = why.message, why.channel
    reason = f" ({channel.reason})" if channel.reason and channel.state != "up" else ""
    display.say(f"Message {message.id}", style="bold")
    display.facts(
        [
            ("To", _recipient(message)),
            ("Status", display.styled(message.status, _status(message))),
            ("Channel", display.styled(channel.state, f"{channel.name}: {channel.state}{reason}")),
            ("Created", _moment(message.created_at, now)),
            *([("CRM ref", message.crm_ref)] if message.crm_ref else []),
        ]
    )
    display.say()
    display.say("Why", style="bold")
    display.facts((f"{number}.", sentence) for number, sentence in enumerate(why.because, 1))
    display.say()
    lines = [("Whose turn", _TURNS[why.whose_turn])]
    if why.action:
        lines.append(("What to do", why.action))
    if why.expected_at:
        late = "now" if why.expected_at <= now else f"in {lasting(why.expected_at - now)}"
        lines.append(("Goes out", f"{late} ({why.expected_at:%Y-%m-%d %H:%M:%S} UTC), if the channel stays up"))
    display.facts(lines)
    if why.attempts.total:
        _attempts(why.attempts)
    _timeline(why.events)


def _recipient(message: MessageView) -> str:
    if message.recipient in {None, message.to}:
        return message.to
    return f'{message.recipient} (written as "{message.to}")'


def _status(message: MessageView) -> str:
    return message.status if message.status == message.state else f"{message.status} ({message.state})"


def _moment(at: datetime, now: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC, {display.ago(at, now)}"


def _attempts(attempts: Log) -> None:
    display.say()
    display.say("Attempts", style="bold")
    display.table(
        [">no", "began (UTC)", "outcome", "cause", "http", "WaSender's words"],
        _rows(
            attempts,
            lambda attempt: [
                str(attempt["number"]),
                display.clock_time(attempt["started_at"]) or "not begun",
                display.styled(attempt["outcome"]),
                attempt["cause"],
                str(attempt["http_status"] or ""),
                attempt["detail"],
            ],
            # In the column of the times, which is the widest one that is never broken.
            lambda left_out: ["", left_out, "", "", "", ""],
        ),
        whole=["began (UTC)", "outcome"],
    )


def _timeline(events: Log) -> None:
    display.say()
    display.say("Timeline", style="bold")
    display.table(
        ["time (UTC)", "became", "learnt from", "reason", "evidence"],
        _rows(
            events,
            lambda event: [
                display.clock_time(event["at"]),
                display.styled(event["after"]),
                event["source"],
                event["reason"],
                _evidence(event["evidence"]),
            ],
            lambda left_out: [left_out, "", "", "", ""],
        ),
        whole=["time (UTC)", "became"],
    )


def _rows(log: Log, row: Callable[[dict[str, Any]], Row], gap: Callable[[str], Row]) -> list[Row]:
    """The first entry and the last few; how many there were in between is said, not shown."""
    left_out = log.total - SHOWN - 1
    if log.first is None or left_out <= 0:
        return [row(entry) for entry in log.newest]
    return [row(log.first), gap(f"… {left_out} more"), *(row(entry) for entry in log.newest[-SHOWN:])]


def _evidence(evidence: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in (evidence or {}).items())
