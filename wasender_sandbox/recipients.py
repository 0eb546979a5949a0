"""Who a message goes to: the spellings WaSender takes for `to`, and test rules about numbers.

A number that lacks its country code is taken as it stands, as WaSender does; only the rules below refuse numbers.
"""

import re
from dataclasses import dataclass, field

from wasender_sandbox.errors import ControlError

_NUMBER = re.compile(r"\+?(\d{5,16})(?:@s\.whatsapp\.net|@c\.us)?")
_GROUP = re.compile(r"[\d-]{5,40}@g\.us")
_NEWSLETTER = re.compile(r"\d{5,40}@newsletter")
_LID = re.compile(r"\d{5,20}@lid")
_HANDLE = re.compile(r"@[A-Za-z0-9_.]{3,35}")


@dataclass(frozen=True, slots=True)
class Recipient:
    """`address` is `+digits` for a person, else the JID or handle as given."""

    kind: str
    address: str

    @property
    def digits(self) -> str:
        return self.address[1:] if self.kind == "person" else self.address.partition("@")[0]

    @property
    def jid(self) -> str:
        return f"{self.digits}@s.whatsapp.net" if self.kind == "person" else self.address


def read_recipient(to: str) -> Recipient | None:
    """The recipient a `to` names, or None when WaSender would call it malformed (spaces, dashes, words)."""
    if number := _NUMBER.fullmatch(to):
        return Recipient("person", f"+{number.group(1)}")
    for kind, pattern in (("group", _GROUP), ("newsletter", _NEWSLETTER), ("lid", _LID), ("handle", _HANDLE)):
        if pattern.fullmatch(to):
            return Recipient(kind, to)
    return None


def digits_of(number: str) -> str:
    """Digits of a number in any spelling, as the rules keep them."""
    return re.sub(r"\D", "", number.partition("@")[0])


def mask(address: str) -> str:
    """A number or JID with its middle hidden, for people to look at."""
    name, at, host = address.partition("@")
    hidden = f"{name[:4]}{'•' * max(len(name) - 6, 0)}{name[-2:]}" if len(name) > 6 else "••••"
    return f"{hidden}{at}{host}"


_SETS = ("not_on_whatsapp", "fails_later", "never_ticked", "never_delivered")


@dataclass(slots=True)
class RecipientRules:
    """Deterministic test numbers. Sets hold digits; prefixes, suffixes and the pattern look at digits too."""

    #: Refused with 422 (or failed later, by switch).
    not_on_whatsapp: set[str] = field(default_factory=set)
    #: Accepted, then failed with "invalid WhatsApp number".
    fails_later: set[str] = field(default_factory=set)
    #: Accepted, and nothing is ever heard again.
    never_ticked: set[str] = field(default_factory=set)
    #: One tick for ever.
    never_delivered: set[str] = field(default_factory=set)
    not_on_whatsapp_prefixes: tuple[str, ...] = ("0",)
    not_on_whatsapp_suffixes: tuple[str, ...] = ()
    not_on_whatsapp_pattern: re.Pattern[str] | None = None

    def exists(self, recipient: Recipient) -> bool:
        """Whether WhatsApp knows this person; groups, newsletters and LIDs always exist here."""
        if recipient.kind != "person":
            return True
        digits = recipient.digits
        return not (
            digits in self.not_on_whatsapp
            or digits.startswith(self.not_on_whatsapp_prefixes)
            or digits.endswith(self.not_on_whatsapp_suffixes)
            or (self.not_on_whatsapp_pattern and self.not_on_whatsapp_pattern.fullmatch(digits))
        )

    def update(self, changes: dict[str, object]) -> None:
        """Add numbers to sets, replace prefixes, suffixes or the pattern; `exists` takes numbers out of all sets."""
        for name, raw in changes.items():
            if name in _SETS:
                getattr(self, name).update(map(digits_of, _words(name, raw)))
            elif name == "exists":
                for number in map(digits_of, _words(name, raw)):
                    for known in _SETS:
                        getattr(self, known).discard(number)
            elif name in {"not_on_whatsapp_prefixes", "not_on_whatsapp_suffixes"}:
                setattr(self, name, tuple(_words(name, raw)))
            elif name == "not_on_whatsapp_pattern":
                self.not_on_whatsapp_pattern = _pattern(raw)
            else:
                known_names = ", ".join((*_SETS, "exists", *(f"not_on_whatsapp_{k}" for k in _KINDS)))
                raise ControlError(f"There is no recipient rule named {name!r}. Known rules: {known_names}.")

    def to_json(self) -> dict[str, object]:
        rules: dict[str, object] = {name: sorted(getattr(self, name)) for name in _SETS}
        rules["not_on_whatsapp_prefixes"] = list(self.not_on_whatsapp_prefixes)
        rules["not_on_whatsapp_suffixes"] = list(self.not_on_whatsapp_suffixes)
        pattern = self.not_on_whatsapp_pattern
        rules["not_on_whatsapp_pattern"] = pattern.pattern if pattern else None
        return rules


_KINDS = ("prefixes", "suffixes", "pattern")


def _words(name: str, raw: object) -> list[str]:
    if isinstance(raw, str):
        return [raw]
    if isinstance(raw, list | tuple) and all(isinstance(word, str) for word in raw):
        return list(raw)
    raise ControlError(f"{name} must be a number or a list of numbers (as text).")


def _pattern(raw: object) -> re.Pattern[str] | None:
    if not raw:
        return None
    try:
        return re.compile(str(raw))
    except re.error as error:
        raise ControlError(f"{raw!r} is not a regular expression: {error}.") from None
