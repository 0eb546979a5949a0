"""Every error that Truetick raises on purpose: a stable code for machines and a sentence for people.

The tree is closed: an edge (HTTP, command line, Celery) catches `TruetickError` and needs to know no more.
"""

from typing import ClassVar


class TruetickError(Exception):
    """An error with a stable `code` and a `message` that says what happened and what to do."""

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class InvalidNumber(TruetickError):
    """The recipient is not a number or JID that WhatsApp could reach. `code` tells which kind of wrong."""

    default_code = "invalid_number"


class InvalidRequest(TruetickError):
    """A request to send is malformed; nothing of it can be guessed."""

    default_code = "invalid_request"


class IllegalTransition(TruetickError):
    """A status change that the rules forbid. It is a bug or a race, never written."""

    default_code = "illegal_transition"


class NotFound(TruetickError):
    """No message or channel has this name."""

    default_code = "not_found"


class Conflict(TruetickError):
    """The same id or idempotency key was used before for another content."""

    default_code = "conflict"


class NotConfigured(TruetickError):
    """A setting is missing or cannot be used. The message names it and says how to set it."""

    default_code = "not_configured"


class GatewayTrouble(TruetickError):
    """WaSender did not do what a person asked for: it is away, refuses, or gave no answer. `code` says which."""

    default_code = "gateway_error"
