"""Reading WhatsApp's own objects as webhooks carry them: keys, ids, addresses and the places of a text (contract 7).

Whatever is not understood is nothing, never an error. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from worker.domain.errors import InvalidNumber
from worker.domain.phone import normalise_recipient

#: An id that is longer is not WhatsApp's, and half of one could be mistaken for another.
_ID_LIMIT = 128
#: Objects of WhatsApp's libraries that hold a message inside, and those that have a caption (contract 7.9).
WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
)
_CAPTIONED = ("imageMessage", "videoMessage", "documentMessage")
_DEEPEST_WRAPPER = 5

_NUMBER = re.compile(r"\+?(\d{7,15})(?::\d{1,4})?(?:@s\.whatsapp\.net|@c\.us)?", re.ASCII)
#: WhatsApp still knows Brazilian mobiles that are older than their ninth digit without it.
_OLD_BRAZILIAN_MOBILE = re.compile(r"\A(55[1-9][1-9])([6-9]\d{7})\Z", re.ASCII)
_LID = re.compile(r"(\d{5,32})(?::\d{1,4})?@lid", re.ASCII)


def text_of(entry: Mapping[str, object], *, wrappers: Sequence[str] = WRAPPERS) -> str | None:
    """Give the text or caption of a message, as it stands there; None where it has none."""
    return next((text for text in _texts(entry, wrappers) if isinstance(text, str) and text.strip()), None)


def _texts(entry: Mapping[str, object], wrappers: Sequence[str]) -> Iterator[object]:
    """Where a text can stand, the best place first."""
    yield entry.get("messageBody")
    message = as_object(entry.get("message"))
    for _ in range(_DEEPEST_WRAPPER):
        yield message.get("conversation")
        yield as_object(message.get("extendedTextMessage")).get("text")
        for media in _CAPTIONED:
            yield as_object(message.get(media)).get("caption")
        wrapped = next((message[wrapper] for wrapper in wrappers if wrapper in message), None)
        message = as_object(as_object(wrapped).get("message"))


def recipient_of(jid: str) -> str | None:
    """Give the address as our messages have it, or None when `jid` (or `+<digits>`) does not tell it.

    WhatsApp knows numbers that the numbering plans do not (yet); they stay as they are.
    """
    try:
        return normalise_recipient(jid if "@" in jid or jid.startswith("+") else f"+{jid}", "").address
    except InvalidNumber:
        number = _NUMBER.fullmatch(jid)
        return "+" + _OLD_BRAZILIAN_MOBILE.sub(r"\g<1>9\g<2>", number[1]) if number else None


def person_of(jid: str) -> str | None:
    """Give a person's address by number as WhatsApp spells it, without the device behind it; None for any other."""
    number = _NUMBER.fullmatch(jid)
    return f"{number[1]}@s.whatsapp.net" if number and "@" in jid else None


def lid_of(jid: str) -> str | None:
    """Give WhatsApp's private id of a person without the device behind it; None for every other address."""
    lid = _LID.fullmatch(jid)
    return f"{lid[1]}@lid" if lid else None


def objects_in(value: object) -> Iterator[dict[str, object]]:
    """One object or a list of them: WaSender sends both for the same event."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item


def as_object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def as_id(value: object) -> str | None:
    text = value.strip() if isinstance(value, str) else ""
    return text if 0 < len(text) <= _ID_LIMIT and text.isprintable() else None
