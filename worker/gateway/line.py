"""One line to one WaSender server: it writes a request, bounds the answer, and tells what kept it from coming whole.

What an answer means is not its business, and it keeps no credential longer than a call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from requests.models import PreparedRequest
from urllib3.util import Timeout, parse_url

from worker.domain.errors import NotConfigured
from worker.domain.outcomes import Cause
from worker.gateway.answers import printable
from worker.gateway.failures import unknown_cause
from worker.gateway.wire import GatewayAdapter, NeverConnected, prepare

#: Most of WaSender's answers have some hundred bytes; whoever sends more than this is not WaSender.
MAX_ANSWER_BYTES: Final = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: Why the body is not whole; None when it is.
    flaw: Cause | None = None


class Line:
    """A pool of connections to the server at `base_url`. Safe to share between threads; make it after a fork.

    Raises `NotConfigured` for an unusable URL; see `api_url`.
    """

    def __init__(self, base_url: str, *, pool_size: int, ca_file: str | None = None) -> None:
        self.base_url = api_url(base_url)
        self._adapter = GatewayAdapter(self.base_url, pool_size=pool_size, ca_file=ca_file)

    def connect(self, timeout_s: float) -> None:
        """Have a connection ready. Raises `NeverConnected`."""
        self._adapter.connect(timeout_s)

    def ask(
        self,
        method: str,
        path: str,
        credential: str,
        *,
        timeout: Timeout,
        body: bytes | None = None,
        content_type: str = "application/json",
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Make one request, once. `credential` has to fit a header (see `fits_a_header`).

        Raises `NeverConnected` when nothing was written, and whatever else requests or urllib3 raise when no status
        came (`failures.unknown_cause` names it).
        """
        headers = {
            "Authorization": f"Bearer {credential}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "truetick",
        }
        if body is not None:
            headers["Content-Type"] = content_type
        if body is not None or method != "GET":
            headers["Content-Length"] = str(len(body or b""))
        return self._exchange(prepare(method, self.base_url + path, headers, body), timeout, most_bytes)

    def close(self) -> None:
        """Close the idle connections. A request in flight still gets its answer."""
        self._adapter.close()

    def _exchange(self, request: PreparedRequest, timeout: Timeout, most_bytes: int) -> Answer:
        """Write the request and read its answer, at most `most_bytes` of it, decoded."""
        raw = self._adapter.send(request, stream=True, timeout=timeout).raw  # type: ignore[arg-type]
        body, flaw = bytearray(), None
        try:
            while len(body) <= most_bytes:
                if not (part := raw.read(most_bytes + 1 - len(body), decode_content=True)):
                    break
                body += part
            else:
                flaw = Cause.UNREADABLE_ANSWER
        except Exception as error:  # the status has come, so it still counts
            flaw = unknown_cause(error)
        finally:
            raw.close()
        return Answer(status=raw.status, headers=raw.headers, body=bytes(body), flaw=flaw)


def api_url(base_url: str) -> str:
    """Give the address with `/api` at its end and no slash behind. Raises `NotConfigured` if it is none."""
    try:
        url = parse_url(base_url.strip())
    except ValueError:
        url = parse_url("")
    if url.scheme not in ("http", "https") or not url.host or url.auth or url.query or url.fragment:
        raise NotConfigured(
            "WASENDER_BASE_URL is not an address that WaSender could have. "
            "Write it like https://www.wasenderapi.com/api."
        )
    path = (url.path or "").rstrip("/")
    return f"{url.scheme}://{url.netloc}{path if path.endswith('/api') else path + '/api'}"


def fits_a_header(credential: str) -> bool:
    """Could this be a key or token at all? Anything else must not reach the wire."""
    return bool(credential) and credential.isascii() and credential.isprintable() and credential.strip() == credential


def why_unconnected(error: NeverConnected) -> str:
    """Tell how connecting failed. No request exists at that time, so no credential can be in the text."""
    return printable(f"{error}: {error.__cause__}")
