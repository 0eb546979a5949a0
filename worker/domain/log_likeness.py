"""Is a row of WaSender's message log a message that we posted? What follows from the answer stands in `log_match`.

To adopt a row it has to be the same; to send again every row has to be clearly different; most of the care here is
for what is neither, because a log may trim, cut, re-encode or hide what was posted.
"""

import html
import re
import unicodedata
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

#: Fields of a posted body that carry its content, and those that merely say how (contract 4.1), as `_squeezed` has
#: them. All others (`to`, `messageType`…) are the server's or an SDK's.
_CONTENTS = frozenset(
    {"text", "imageurl", "videourl", "documenturl", "audiourl", "stickerurl", "contact", "location", "poll"}
)
_OPTIONS = frozenset({"filename", "viewonce", "mentions", "replyto"})
#: A posted body has three levels; whatever is deeper than this is not looked at.
_DEEPEST = 6
#: A logged text that is at least so long (letters and digits) and begins one of ours may be ours, cut.
_CUT_FROM = 20
#: Numbers that share so many last digits may be two spellings of one.
_TAIL = 8

_NUMBER = re.compile(r"\+?[\d\s().-]{5,40}", re.ASCII)
_PERSON = re.compile(r"(\d{5,20})(?::\d+)?@(?:s\.whatsapp\.net|c\.us)", re.ASCII)
_PLACE = re.compile(r"[\d-]{5,60}@(?:g\.us|newsletter)", re.ASCII)


#: Recipient and fields.
Key = tuple[str | None, Hashable | None]


class _TooDeep(Exception):
    pass


class Likeness(StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    #: Hidden, cut, or spelled in a way that leaves it open.
    UNCLEAR = "unclear"


@dataclass(frozen=True, kw_only=True)
class Said:
    """Who is told what, in a form that two spellings of it share. Holds numbers and texts: never logged."""

    #: Digits of a person, JID of a group or newsletter; None when hidden or not understood.
    recipient: str | None
    #: The fields; None when hidden or when none of them is known.
    fields: Hashable | None
    #: The letters and digits of each text, address or number in the content.
    letters: frozenset[str]
    #: A part of the content has neither letters nor digits (emoji).
    vague: bool

    @property
    def key(self) -> Key:
        """Two that have this in common are the same."""
        return self.recipient, self.fields

    def __repr__(self) -> str:
        return "Said(…)"


def said_by(to: object, content: Mapping[str, object] | None) -> Said:
    """Read a posted body (`content` may contain `to`) or a row of the log."""
    known = {name: part for key, part in (content or {}).items() if (name := _squeezed(key)) in _CONTENTS | _OPTIONS}
    try:
        plain = {name: _plain(part, 1) for name, part in known.items()}
    except _TooDeep:
        known = plain = {}
    fields = {name: part for name, part in plain.items() if not _is_empty(part)}
    letters = frozenset(_letters(text) for name in _CONTENTS & fields.keys() for text in _texts(known[name]))
    return Said(
        recipient=_recipient(to),
        fields=tuple(sorted(fields.items())) if _CONTENTS & fields.keys() else None,
        letters=letters - {""},
        vague="" in letters,
    )


def likeness(posted: Said, logged: Said) -> Likeness:
    """Compare what was posted with what was logged."""
    who = _same_recipient(posted.recipient, logged.recipient)
    if who is Likeness.DIFFERENT:
        return who
    what = _same_content(posted, logged)
    return who if what is Likeness.SAME else what


def _same_recipient(posted: str | None, logged: str | None) -> Likeness:
    if posted is None or logged is None:
        return Likeness.UNCLEAR
    if posted == logged:
        return Likeness.SAME
    alike = posted.isdecimal() and logged.isdecimal() and posted[-_TAIL:] == logged[-_TAIL:]
    return Likeness.UNCLEAR if alike else Likeness.DIFFERENT


def _same_content(posted: Said, logged: Said) -> Likeness:
    if posted.fields is None or logged.fields is None:
        return Likeness.UNCLEAR
    if posted.fields == logged.fields:
        return Likeness.SAME
    cut = any(
        len(part) >= _CUT_FROM and whole.startswith(part) for part in logged.letters for whole in posted.letters
    )
    alike = cut or posted.letters & logged.letters or (posted.vague and logged.vague)
    return Likeness.UNCLEAR if alike else Likeness.DIFFERENT


def _recipient(to: object) -> str | None:
    """Give `to` as one spelling: it is logged as it was posted, with or without `+`, or as a JID."""
    if not isinstance(to, str) or len(to) > 100:
        return None
    spelled = to.strip().lower()
    if _NUMBER.fullmatch(spelled):
        digits = "".join(filter(str.isdecimal, spelled))
        return digits if len(digits) >= 5 else None
    if person := _PERSON.fullmatch(spelled):
        return person[1]
    return spelled if _PLACE.fullmatch(spelled) else None


def _squeezed(name: str) -> str:
    """`imageUrl`, `image_url` and `ImageURL` are one name."""
    return name.replace("_", "").replace("-", "").lower()


def _plain(value: object, depth: int) -> Hashable:
    """Give a value that compares by its meaning: outer blanks, composition and empty parts do not count."""
    if depth > _DEEPEST:
        raise _TooDeep
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).replace("\r\n", "\n").strip()
    if isinstance(value, Mapping):
        parts = {_squeezed(str(name)): _plain(part, depth + 1) for name, part in value.items()}
        return tuple(sorted((name, part) for name, part in parts.items() if not _is_empty(part)))
    if isinstance(value, list | tuple):
        return tuple(_plain(part, depth + 1) for part in value)
    return value if isinstance(value, int | float) else None


def _is_empty(value: Hashable) -> bool:
    """Laravel keeps an empty text as null, and what is off need not be written down. Zero is a coordinate."""
    return value is None or value is False or value == "" or value == ()


def _texts(value: object) -> Iterator[str]:
    """The texts and numbers in a value, without the names of its fields."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _letters(text: str) -> str:
    """What is left of a text by any log: no entities, no case, no accents of its own, no signs, no blanks."""
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    return "".join(char for char in plain if char.isalnum())
