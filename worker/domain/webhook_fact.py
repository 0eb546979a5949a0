"""What a webhook can tell, in our words: no raw body, no credential, no text of a message.

A fact is a claim of whoever knew the webhook's secret. It may come twice, late, out of order, or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from worker.domain.errors import InvalidRequest
from worker.domain.evidence import Ack
from worker.domain.opt_out import Wish


@dataclass(frozen=True, kw_only=True)
class TickSeen:
    """WhatsApp acknowledged a message, which need not be one of ours."""

    kind: ClassVar[str] = "tick"
    whatsapp_key_id: str
    #: As the webhook spells it: `<digits>@s.whatsapp.net`, a group, a LID, or `+<digits>`.
    whatsapp_jid: str | None = field(default=None, repr=False)
    ack: Ack


@dataclass(frozen=True, kw_only=True)
class SentSeen:
    """A message went out from the channel's number: sent by us, or typed on the phone."""

    kind: ClassVar[str] = "sent"
    whatsapp_key_id: str
    whatsapp_jid: str | None = field(default=None, repr=False)
    #: E.164, group or newsletter, as our messages have it. None when the webhook does not tell (a LID).
    recipient: str | None = field(default=None, repr=False)
    #: See `worker.domain.text_digest`; None when there was no text.
    text_digest: str | None = field(default=None, repr=False)
    #: WaSender's own id, which most of these events lack.
    gateway_msg_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class SendFailed:
    """WaSender could not hand over a message. Mostly it names the number only, so it may be any message to it."""

    kind: ClassVar[str] = "send_failed"
    recipient: str | None = field(default=None, repr=False)
    gateway_msg_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class SessionChanged:
    """WaSender's session is said to be in another state. Only a hint: `GET /status` decides."""

    kind: ClassVar[str] = "session"
    #: In lower case, such as `connected` or `need_scan`; may be a word that nobody has seen before.
    word: str


@dataclass(frozen=True, kw_only=True)
class WishSeen:
    """Somebody wrote one of the configured words, and nothing else. Of all other messages that come in nothing is
    kept."""

    kind: ClassVar[str] = "wish"
    whatsapp_key_id: str
    #: E.164; None where WhatsApp tells a LID only.
    sender: str | None = field(default=None, repr=False)
    lid: str | None = field(default=None, repr=False)
    #: The number as WhatsApp spells it (`<digits>@s.whatsapp.net`), which need not be how anybody dials it.
    jid: str | None = field(default=None, repr=False, compare=False)
    wish: Wish
    #: The word, in the form in which words are compared.
    word: str
    #: When it was written, by WhatsApp's clock, in seconds since 1970; None where the webhook does not tell.
    written_at: int | None = None


Fact = TickSeen | SentSeen | SendFailed | SessionChanged | WishSeen

_KINDS: dict[str, type[Fact]] = {
    kind.kind: kind for kind in (TickSeen, SentSeen, SendFailed, SessionChanged, WishSeen)
}


def to_said(fact: Fact) -> dict[str, Any]:
    """Give the fact as a JSON object; `from_said(fact.kind, …)` makes it a fact again."""
    said = {part.name: getattr(fact, part.name) for part in fields(fact)}
    return {name: int(value) if isinstance(value, Ack) else value for name, value in said.items()}


def from_said(kind: str, said: Mapping[str, Any]) -> Fact:
    """Give the fact that was stored. Raises InvalidRequest for one that this program does not know."""
    try:
        made = _KINDS[kind]
        given = {part.name: said[part.name] for part in fields(made) if part.name in said}
        if "ack" in given:
            given["ack"] = Ack(given["ack"])
        if "wish" in given:
            given["wish"] = Wish(given["wish"])
        return made(**given)
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest(
            "A stored webhook fact is of a kind or form that this program does not know. "
            "A newer program may have stored it: run the same version everywhere.",
            code="unknown_fact",
        ) from None
