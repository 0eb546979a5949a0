"""Keys of the HTTP API that a person made: how they look, what they open, and what of them is kept."""

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum

from worker.domain.errors import InvalidRequest

KEY_PREFIX = "tt_"
#: How much of a key people are shown, to tell it from others.
HINT_LENGTH = 8
_KEY = re.compile(r"tt_[A-Za-z0-9_-]{43}", re.ASCII)


class Scope(StrEnum):
    """What a key opens."""

    #: Hand over messages.
    SEND = "send"
    #: Look at messages, channels and changes.
    READ = "read"
    #: Decide: withdraw and resend messages, pause and resume channels.
    OPERATE = "operate"


ALL_SCOPES = frozenset(Scope)


def looks_made(key: str) -> bool:
    """Can this be a key that a person made here? Others need not be looked for."""
    return _KEY.fullmatch(key) is not None


def digest(key: str) -> str:
    """What is kept of a key: SHA-256 in hex. Keys are random, so nothing slower is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def parse_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Raises InvalidRequest for a word that is no scope, and for none at all."""
    given = list(words)
    try:
        scopes = frozenset(Scope(word) for word in given)
    except ValueError:
        scopes = frozenset()
    if not scopes:
        raise InvalidRequest(f"A key needs one or more of the scopes {', '.join(Scope)}.", code="bad_scope")
    return scopes


def written(scopes: frozenset[Scope]) -> str:
    """Scopes as they are stored and shown: in one order, separated by spaces."""
    return " ".join(scope for scope in Scope if scope in scopes)
