"""How the dashboard says what the API answers: verdicts, times, and which lists there are."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

from crm_bridge.web.listing import ListQuery
from worker.domain.channel_state import ChannelState, lacks_key
from worker.domain.durations import lasting

#: Below the channels: what may be listed, by its query.
LISTS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("all", {}),
    ("wait for a person", {"attention": "true"}),
    ("pending", {"status": "pending"}),
    ("in doubt", {"status": "in_doubt"}),
    ("failed", {"status": "failed"}),
    ("expired", {"status": "expired"}),
    ("sent", {"status": "sent"}),
)
#: The times of a message, in the order in which they come.
_TIMES = (
    ("created_at", "created"),
    ("send_after", "not before"),
    ("accepted_at", "WaSender accepted it"),
    ("sent_at", "WhatsApp ticked it"),
    ("delivered_at", "on the phone"),
    ("read_at", "read"),
    ("expires_at", "expires"),
)
_GLYPHS = {
    "pending": "…",
    "sent": "✓",
    "delivered": "✓✓",
    "read": "✓✓",
    "failed": "✗",
    "expired": "✗",
    "cancelled": "–",
}


def verdict(status: Mapping[str, Any]) -> str:
    """Do messages flow? And if not, on which channels."""
    if status["all_flowing"]:
        return "Messages flow."
    if not status["channels"]:
        return "No messages flow: there is no channel."
    used = [channel for channel in status["channels"] if not _is_unused(channel)]
    stuck = [channel["name"] for channel in used if not channel["flowing"]]
    if len(stuck) == len(used):
        return "Messages do not flow."
    named = ", ".join(stuck[:5]) + (f" and {len(stuck) - 5} more" if len(stuck) > 5 else "")
    return f"Messages do not flow on {named}."


def heading(query: ListQuery, wanted: str) -> str:
    if wanted:
        return f"Messages to, or with the reference, {wanted}"
    named = next((words for words, given in LISTS if given and given == _asked(query)), None)
    return f"Messages: {named}" if named else "Messages, the newest first"


def _asked(query: ListQuery) -> dict[str, str]:
    return {
        **({"status": query.status} if query.status else {}),
        **({"attention": "true"} if query.attention else {}),
    }


def times(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Those that are known; that it may go out at once needs no words."""
    return [
        (words, message[name])
        for name, words in _TIMES
        if message[name] and not (name == "send_after" and message[name] <= message["created_at"])
    ]


def _moment(written: datetime | str) -> str:
    at = written if isinstance(written, datetime) else datetime.fromisoformat(written)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


@pass_context
def _ago(context: Context, written: str) -> str:
    at, now = datetime.fromisoformat(written), context["now"]
    return f"{lasting(now - at)} ago" if at <= now else f"in {lasting(at - now)}"


def _reason(message: Mapping[str, Any]) -> str:
    """In one sentence, as far as the list knows; the message's own page says more."""
    if message["error"]:
        return str(message["error"]["message"])
    words = [str(message["pending_reason"]).replace("_", " ")] if message["pending_reason"] else []
    if message["attention"]:
        words.append("a person has to decide")
    return "; ".join(words)


def _rate(rates: Mapping[str, Any]) -> str:
    accepted = f"{rates['accepted']}{'+' if rates['partial'] else ''} accepted, {rates['sent']} ticked"
    failed = f", {rates['failed']} failed" if rates["failed"] else ""
    took = f", half within {rates['tick_median_s']:g} s" if rates["tick_median_s"] is not None else ""
    return f"{accepted}{failed}{took}"


def _standing(channel: Mapping[str, Any]) -> str:
    """`good`, `wait` (something holds it up that passes) or `bad`."""
    if channel["flowing"]:
        return "good"
    passes = channel["state"] in {"up", "unknown", "paused"}
    return "wait" if passes or _is_unused(channel) else "bad"


def _is_unused(channel: Mapping[str, Any]) -> bool:
    """It has no key, and nothing waits for one: the status does not count it."""
    return lacks_key(ChannelState(channel["last_known_state"]), channel["reason"]) and not channel["pending"]


FILTERS: Mapping[str, Callable[..., str]] = {
    "moment": _moment,
    "ago": _ago,
    "reason": _reason,
    "rate": _rate,
    "standing": _standing,
    "glyph": lambda status: _GLYPHS[status],
}
