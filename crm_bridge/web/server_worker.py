"""gunicorn's worker with threads, which refuses what is no HTTP in the API's own form, and logs nothing of it.

The offending line may hold a key, a number or a text, in its address as well as in its headers.
"""

from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import structlog
from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from crm_bridge.web.problem_body import CONTENT_TYPE, problem_body

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Refusal:
    status: int
    code: str
    detail: str


_NO_HTTP: Final = _Refusal(400, "bad_request", "The request cannot be understood: it is no HTTP.")
_BROKE: Final = _Refusal(
    500,
    "internal_error",
    "Something broke on this side. Nothing is sent twice if the request is repeated with the same message_id or "
    "idempotency_key.",
)
#: The first kind that fits decides.
_REFUSALS: Final[tuple[tuple[type[Exception], _Refusal], ...]] = (
    (errors.InvalidResponseHeader, _BROKE),
    (errors.InvalidResponseHeaderName, _BROKE),
    (errors.ConfigurationProblem, _BROKE),
    (errors.LimitRequestLine, _Refusal(414, "address_too_long", "The address with its parameters is too long.")),
    (errors.LimitRequestHeaders, _Refusal(431, "headers_too_long", "There are too many headers, or too long ones.")),
    (errors.UnsupportedTransferCoding, _Refusal(501, "bad_transfer_coding", "Send the body as it is, or in chunks.")),
    (errors.ExpectationFailed, _Refusal(417, "bad_expectation", "The header Expect may ask for 100-continue alone.")),
    (errors.ForbiddenProxyRequest, _Refusal(403, "forbidden_proxy", "This server takes no PROXY line from there.")),
    (errors.ParseException, _NO_HTTP),
)


class ServerWorker(ThreadWorker):  # type: ignore[misc]
    def handle_error(self, _req: Any, client: Any, _addr: Any, exc: Exception) -> None:
        """Answer a request that never reached the application, or that the server could not finish."""
        refusal = next((refusal for kind, refusal in _REFUSALS if isinstance(exc, kind)), _BROKE)
        tell = log.error if refusal is _BROKE else log.warning
        tell("request_not_served", problem=type(exc).__name__, status=refusal.status)
        with suppress(Exception):  # whoever sent it may have gone
            util.write_nonblock(client, _answer(refusal))


def _answer(refusal: _Refusal) -> bytes:
    body = problem_body(refusal.status, refusal.code, refusal.detail).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        "Connection: close",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
