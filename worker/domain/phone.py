"""Whom a message goes to: any human spelling of a number, or a group or newsletter JID, made one address.

Recognises what must never be sent to (LIDs, broadcasts, handles) and hides addresses from logs.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from worker.domain.errors import InvalidNumber
from worker.domain.numbering import parse_number, region_of, to_e164


class RecipientKind(StrEnum):
    NUMBER = "number"
    GROUP = "group"
    #: What WhatsApp calls a channel; here a channel is a sender.
    NEWSLETTER = "newsletter"


@dataclass(frozen=True, kw_only=True)
class Recipient:
    #: E.164 ("+917033009600"), "…@g.us" or "…@newsletter".
    address: str
    kind: RecipientKind
    #: Two letters of the number's own country; None for JIDs and for numbers of no country.
    region: str | None = None


#: Longest spelling that is looked at, in characters, once the invisible ones are gone.
MAX_SPELLING = 64
_MAX_RAW = 1_000

_ALIKE = str.maketrans(
    {"＋": "+", "﹢": "+", "−": "-", "．": ".", "·": ".", "•": ".", "（": "(", "）": ")", "［": "(", "］": ")"}
    | {"[": "(", "]": ")", "／": "/", "＠": "@", "：": ":", "，": ",", "；": ";", "\t": " ", "\r": "\n"}
)
#: Beside format characters (zero-width, direction marks): joiner, keycap and variation selectors of emoji digits.
_INVISIBLE_MARKS = frozenset("\u034f\u20e3\ufe0e\ufe0f")
_SCHEME = re.compile(r"(?:tel|whatsapp|sms|callto):(?://)?", re.IGNORECASE)
_LINK = re.compile(
    r"(?:https?://)?(?:www\.)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)(?:\+|%2B)?(\d+)/?(?:[?&].*)?",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT = re.compile(r";phone-context=(\+\d{1,7})", re.IGNORECASE)
_EXTENSION = re.compile(
    r"\d.*?(?:;\s*ext=|ext(?:ensio)?n?\b|(?<=[\d\s)])x|#)[\s.:]*\d{1,7}$", re.IGNORECASE | re.DOTALL
)
_SEVERAL = re.compile(r"[,;/|&\n]|\b(?:or|and)\b", re.IGNORECASE)
#: A spreadsheet's float: 7033009600.0
_FLOAT = re.compile(r"(\+?\d{7,})\.0")
_NUMBER = re.compile(r"[\s(.-]*(\+?)([\d\s().\-/]*)")


def normalise_recipient(raw: str, region: str) -> Recipient:
    """Give the one address that `raw` spells; bare national numbers belong to `region` (two letters).

    Raises `InvalidNumber`, and nothing else whatever the input, with one of the codes `empty`, `not_a_number`,
    `too_short`, `too_long`, `unassigned`, `unreachable_type`, `missing_country_code`, `unknown_country_code`,
    `unknown_region`, `several_numbers`, `extension`, `lid`, `broadcast`, `username`, `malformed_jid`.
    """
    text = _cleaned(raw)
    if "@" in text:
        return _from_jid(text)
    if link := _LINK.fullmatch(text):
        return _number("+" + link[1], region)
    if scheme := _SCHEME.match(text):
        text = text[scheme.end() :]
        if context := _CONTEXT.search(text):
            text = text.replace(context[0], "")
            text = text if text.startswith("+") else context[1] + text
    return _number(text, region)


def mask_recipient(address: object) -> str:
    """Give a spelling for logs, in ASCII, that shows at most five digits: "+91*******600". Never raises."""
    if not isinstance(address, str):
        return "***"
    local, _, server = address[:_MAX_RAW].rpartition("@") if "@" in address else (address[:_MAX_RAW], "", "")
    digits = [str(unicodedata.decimal(char)) for char in local if char.isdecimal()]
    shown = "***" if len(digits) < 8 else "".join([*digits[:2], "*" * min(len(digits) - 5, 15), *digits[-3:]])
    plus = "+" if local.translate(_ALIKE).strip().startswith("+") else ""
    return plus + shown + (f"@{server}" if server in ("g.us", "newsletter", "s.whatsapp.net", "c.us", "lid") else "")


def _cleaned(raw: object) -> str:
    """Give `raw` in ASCII where it has a meaning: plain digits, spaces and dashes, nothing invisible."""
    if not isinstance(raw, str):
        raise InvalidNumber("The recipient has to be text.", code="not_a_number")
    if len(raw) > _MAX_RAW:
        raise InvalidNumber("This is too long to be a recipient.", code="too_long")
    kept = []
    for char in raw.translate(_ALIKE):
        category = unicodedata.category(char)
        if category == "Nd":
            kept.append(str(unicodedata.decimal(char)))
        elif category in ("Zs", "Zl", "Zp"):
            kept.append(" ")
        elif category == "Pd":
            kept.append("-")
        elif category != "Cf" and char not in _INVISIBLE_MARKS:
            kept.append(char)
    text = "".join(kept).strip(" \n'\"’‘“”`")
    if not text:
        raise InvalidNumber("The recipient is empty. Give a phone number.", code="empty")
    if len(text) > MAX_SPELLING:
        raise InvalidNumber("This is too long to be a recipient.", code="too_long")
    return text


def _from_jid(text: str) -> Recipient:
    local, _, server = text.partition("@")
    local, server = local.strip(), server.strip().lower()
    if not local:
        raise InvalidNumber("WhatsApp usernames are not supported. Use the phone number.", code="username")
    if server in ("s.whatsapp.net", "c.us"):
        digits, _, device = local.partition(":")
        if _ascii_digits(digits) and (not device or _ascii_digits(device)):
            return _number("+" + digits, "")
    elif server == "lid":
        raise InvalidNumber(
            "This is a LID, WhatsApp's private id of a person; messages to it get lost. Use the phone number.",
            code="lid",
        )
    elif server == "broadcast":
        raise InvalidNumber("Messages to a broadcast list or status are not supported.", code="broadcast")
    elif server == "g.us" and re.fullmatch(r"\d{5,32}(?:-\d{5,16})?", local, re.ASCII):
        return Recipient(address=f"{local}@g.us", kind=RecipientKind.GROUP)
    elif server == "newsletter" and re.fullmatch(r"\d{5,32}", local, re.ASCII):
        return Recipient(address=f"{local}@newsletter", kind=RecipientKind.NEWSLETTER)
    elif server not in ("g.us", "newsletter"):
        raise InvalidNumber("This is neither a phone number nor a WhatsApp JID.", code="not_a_number")
    raise InvalidNumber(f"This is not what a JID at {server} looks like.", code="malformed_jid")


def _number(text: str, region: str) -> Recipient:
    if _several(text):
        raise InvalidNumber("There are several numbers here. Send one message to each.", code="several_numbers")
    if _EXTENSION.search(text):
        raise InvalidNumber("A number with an extension cannot be on WhatsApp.", code="extension")
    if spreadsheet := _FLOAT.fullmatch(text):
        text = spreadsheet[1]
    spelled = _NUMBER.fullmatch(text)
    digits = re.sub(r"\D", "", spelled[2]) if spelled else ""
    if spelled is None or not digits:
        raise InvalidNumber("This is not a phone number: it has letters or signs in it.", code="not_a_number")
    number = parse_number(digits, international=bool(spelled[1]), region=region)
    return Recipient(address=to_e164(number), kind=RecipientKind.NUMBER, region=region_of(number))


def _several(text: str) -> bool:
    parts = [part for part in _SEVERAL.split(text) if sum(char.isdecimal() for char in part) >= 7]
    return len(parts) > 1 or len(re.findall(r"\+\s*\d", text)) > 1


def _ascii_digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()
