"""Posts callbacks to one http(s) endpoint and judges its answer. When to try again is not decided here."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import SecretStr
from urllib3.response import BaseHTTPResponse
from urllib3.util import Timeout

from worker.callbacks.addresses import HttpAddress
from worker.callbacks.breaker import AT_ONCE, DELIVERED, Verdict
from worker.callbacks.payload import Letter
from worker.callbacks.signing import signed_headers
from worker.gateway.dialling import NotLookedUp
from worker.gateway.wire import GatewayAdapter, NeverConnected, prepare

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 10.0
#: No call takes longer: connecting, the TLS handshake and writing have the first of these times each.
LONGEST_CALL_S: Final = 3 * CONNECT_TIMEOUT_S + READ_TIMEOUT_S
#: So much of an answer is read; the rest is nobody's business.
MOST_READ: Final = 1024

_GONE = 410
#: Request timeout, too early, too many requests: these say something about the moment, not about the callback.
_NOT_NOW = frozenset({408, 425, 429})
_PAGE = (b"<!doctype html", b"<html")


class HttpLine:
    """Connections to one endpoint, and its signing secret. Safe to share between threads."""

    def __init__(
        self,
        address: HttpAddress,
        secret: SecretStr,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        ca_file: str | None = None,
    ) -> None:
        self._url = address.url
        self._name = address.masked
        self._secret = secret
        self._timeout = Timeout(connect=connect_timeout_s, read=read_timeout_s)
        self._connect_timeout_s, self._read_timeout_s = connect_timeout_s, read_timeout_s
        self._adapter = GatewayAdapter(address.url, pool_size=AT_ONCE, ca_file=ca_file)

    def tell(self, letter: Letter, now: datetime) -> Verdict:
        """Tell one callback, once. Never raises for what the endpoint does."""
        body = letter.body
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept-Encoding": "identity",
            "User-Agent": "truetick",
            **signed_headers(self._secret, letter.id, body, now),
        }
        request = prepare("POST", self._url, headers, body.encode("ascii"))
        try:
            answer = self._adapter.send(request, stream=True, timeout=self._timeout).raw  # type: ignore[arg-type]
        except Exception as error:
            return Verdict(problem=f"{self._name} {self._trouble(error)}.")
        try:
            return self._judge(answer, now)
        finally:
            answer.close()

    def close(self) -> None:
        """Close the idle connections."""
        self._adapter.close()

    def _judge(self, answer: BaseHTTPResponse, now: datetime) -> Verdict:
        if 200 <= answer.status < 300:
            if not _first_bytes(answer).lstrip().lower().startswith(_PAGE):
                return DELIVERED
            said = f"{answer.status} with a web page, as a login or maintenance page in front of the receiver would"
        elif 300 <= answer.status < 400:
            said = f"{answer.status}, a redirect, which is not followed: give the endpoint its final address"
        elif answer.status == _GONE:
            said = "410: it does not want this callback any more"
        else:
            said = str(answer.status)
        return Verdict(
            problem=f"{self._name} answered {said}.",
            retry_after_s=_retry_after_s(answer.headers.get("Retry-After"), now),
            is_refusal=400 <= answer.status < 500 and answer.status not in _NOT_NOW,
            is_final=answer.status == _GONE,
        )

    def _trouble(self, error: BaseException) -> str:
        chain = list(_chain(error))
        for link in chain:
            if isinstance(link, ssl.SSLCertVerificationError):
                return f"has a TLS certificate that cannot be trusted ({link.verify_message})"
            if isinstance(link, ssl.SSLError):
                return "does not speak TLS as it should"
            if isinstance(link, NotLookedUp):
                return f"has a name that could not be looked up within {self._connect_timeout_s:g} s"
            if isinstance(link, socket.gaierror):
                return "has a name that cannot be looked up"
        timed_out = any(isinstance(link, TimeoutError) for link in chain)
        if isinstance(error, NeverConnected):
            return f"took no connection within {self._connect_timeout_s:g} s" if timed_out else "took no connection"
        if timed_out or "Timeout" in type(error).__name__:
            return f"did not answer within {self._read_timeout_s:g} s"
        return "broke the connection, or answered something that is not HTTP"


def _first_bytes(answer: BaseHTTPResponse) -> bytes:
    """The beginning of the body. The status has come whole, so a body that does not come changes nothing."""
    read = bytearray()
    with suppress(Exception):
        while len(read) < MOST_READ and (part := answer.read(MOST_READ - len(read), decode_content=False)):
            read += part
    return bytes(read)


def _retry_after_s(told: str | None, now: datetime) -> float:
    """Seconds, from seconds or a date; 0 for anything else."""
    if not told:
        return 0.0
    if told.isascii() and told.isdecimal():
        return float(told[:9])
    with suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(told)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
    return 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, also where urllib3 keeps that in an attribute."""
    for _ in range(20):
        if error is None:
            return
        yield error
        reason = getattr(error, "reason", None)
        error = error.__cause__ or error.__context__ or (reason if isinstance(reason, BaseException) else None)
