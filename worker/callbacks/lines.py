"""The line to an endpoint: its address and secret, from its row or the environment, made ready to be called."""

from datetime import datetime
from typing import Any, Protocol

from pydantic import SecretStr

from worker.callbacks.addresses import Address, HttpAddress, TaskAddress, parse_address
from worker.callbacks.breaker import Verdict
from worker.callbacks.http_line import HttpLine
from worker.callbacks.payload import Letter
from worker.callbacks.signing import checked_secret
from worker.callbacks.task_line import TaskLine
from worker.domain.errors import InvalidRequest, NotConfigured, TruetickError
from worker.parts import Parts

#: What is wrong with a secret, by the code of the error that it raised.
_WRONG = {
    "wrong_secret_key": "was encrypted with another TRUETICK_SECRET_KEY than the one that is set",
    "bad_secret_key": "is encrypted, and the TRUETICK_SECRET_KEY that is set is not 32 bytes in url-safe base64",
    "no_secret_key": "is encrypted, and no TRUETICK_SECRET_KEY is set",
    "bad_secret": "is not whsec_ and 24 to 64 random bytes in base64",
}


class Line(Protocol):
    """What callbacks are told over."""

    def tell(self, letter: Letter, now: datetime) -> Verdict:
        """Tell one callback, once. Never raises for what the other side does."""

    def close(self) -> None:
        """Let go of connections."""


def address_of(parts: Parts, row: Any) -> Address | None:
    """Where an endpoint (its row) is; None for the environment's in a process whose environment names none.

    Raises InvalidRequest for one that cannot be used.
    """
    given = parts.settings.callback_url
    if row.address is not None:
        return parse_address(row.address)
    return parse_address(given.get_secret_value()) if given is not None else None


def open_line(parts: Parts, row: Any) -> Line:
    """Raises NotConfigured when the endpoint cannot be called as it is: the sentence says what to do about it."""
    try:
        address = address_of(parts, row)
    except InvalidRequest as error:
        raise NotConfigured(f"{error.message} Set TRUETICK_CALLBACK_URL anew.", code=error.code) from None
    if address is None:
        raise NotConfigured("TRUETICK_CALLBACK_URL is not set here.", code="no_address")
    if isinstance(address, TaskAddress):
        return TaskLine(address, parts.settings.broker_url)
    return HttpLine(address, _secret_of(parts, row, address))


def _secret_of(parts: Parts, row: Any, address: HttpAddress) -> SecretStr:
    from_environment = row.address is None and row.secret_encrypted is None
    remedy = "set TRUETICK_CALLBACK_SECRET" if from_environment else f"run: truetick callbacks set-secret {row.name}"
    try:
        if row.secret_encrypted is not None:
            return parts.vault.open(row.secret_encrypted)
        given = parts.settings.callback_secret if from_environment else None
        if given is not None:
            return SecretStr(checked_secret(given.get_secret_value()))
    except TruetickError as error:
        raise _not_called(address, _WRONG.get(error.code, "cannot be used"), remedy, error.code) from None
    raise _not_called(address, "is missing, so it could not know who calls", remedy, "no_callback_secret")


def _not_called(address: HttpAddress, wrong: str, remedy: str, code: str) -> NotConfigured:
    return NotConfigured(
        f"{address.masked} is not called, for its signing secret {wrong}. What to do: {remedy}", code=code
    )
