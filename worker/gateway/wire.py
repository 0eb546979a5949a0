"""The connections under the client: they prove when nothing was written, and they end on time.

Everything else about HTTP and TLS is urllib3's and requests'.
"""

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPResponse
from socket import socket
from typing import TYPE_CHECKING, Any

from requests import Response
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse
from urllib3.util.ssl_ import create_urllib3_context

from worker.gateway.dialling import dial

#: A connection idle for longer is not used again: many a proxy or NAT forgets it silently after a minute, and a
#: message written into the void is a message in doubt.
MAX_IDLE_S = 30.0
#: A large body has so much longer to be written: a file of 16 MB gets out of a slow uplink, too.
SLOWEST_WRITING_BYTES_PER_S = 64 * 1024
_PIECE_BYTES = 64 * 1024


class NeverConnected(Exception):
    """No connection came about (DNS, refused, TLS, connect timeout): proof that no request was written.

    Neither requests nor urllib3 knows this class, so neither wraps it, and nothing else is ever raised as it.
    """


_tell_written: ContextVar[Callable[[], None] | None] = ContextVar("tell_written", default=None)


@contextmanager
def telling_when_written(tell: Callable[[], None]) -> Iterator[None]:
    """Have `tell` called once a request of this thread is written, before its answer is awaited."""
    token = _tell_written.set(tell)
    try:
        yield
    finally:
        _tell_written.reset(token)


class _UntilDeadline(io.RawIOBase):
    """Reads from a socket until a moment that no trickle of bytes can put off."""

    def __init__(self, sock: socket, source: io.RawIOBase) -> None:
        self._sock = sock
        self._source = source
        timeout_s = sock.gettimeout()
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the answer did not end in time")
            self._sock.settimeout(left_s)
        return self._source.readinto(buffer)

    def close(self) -> None:
        self._source.close()
        super().close()


class _PunctualResponse(HTTPResponse):
    """An answer that has to come whole, headers and body, within the read timeout."""

    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_UntilDeadline(sock, self.fp.detach()))


if TYPE_CHECKING:
    _Connection = HTTPConnection
else:
    _Connection = object


class _Telling(_Connection):
    """Connects or raises `NeverConnected`; does not pass for connected after a long rest."""

    response_class = _PunctualResponse
    _answered_at = 0.0

    def _new_conn(self) -> socket:
        return dial(self._dns_host, self.port, within_s=self.timeout, options=self.socket_options or ())

    def connect(self) -> None:
        try:
            super().connect()
        except Exception as error:
            self.close()
            raise NeverConnected(type(error).__name__) from error
        self._answered_at = time.monotonic()

    def send(self, data: Any) -> None:
        """Write a large body in pieces, until a moment that no trickle can put off, be it through TLS or not."""
        if not isinstance(data, bytes) or len(data) <= _PIECE_BYTES or self.timeout is None:
            super().send(data)
            return
        until = time.monotonic() + self.timeout + len(data) / SLOWEST_WRITING_BYTES_PER_S
        for start in range(0, len(data), _PIECE_BYTES):
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the request was not written in time")
            self.sock.settimeout(left_s)
            super().send(memoryview(data)[start : start + _PIECE_BYTES])

    def getresponse(self) -> Any:
        if tell := _tell_written.get():
            tell()
        response = super().getresponse()
        self._answered_at = time.monotonic()
        return response

    @property
    def is_connected(self) -> bool:
        return time.monotonic() - self._answered_at < MAX_IDLE_S and super().is_connected


class _TellingHTTP(_Telling, HTTPConnection):
    pass


class _TellingHTTPS(_Telling, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _TellingHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TellingHTTPS


class GatewayAdapter(HTTPAdapter):
    """A requests adapter for one server: one pool, found once; one TLS context, loaded once; no retries.

    It leaves out what a client of one JSON API would pay for on every request and never uses: looking the pool up
    by URL, proxies, cookies, guessing the encoding.
    """

    def __init__(self, url: str, *, pool_size: int, ca_file: str | None = None) -> None:
        self._url = url
        self._origin = url[: url.index("/", len("https://"))]
        self._tls = None
        if url.startswith("https:"):
            self._tls = create_urllib3_context()
            self._tls.load_verify_locations(cafile=ca_file or DEFAULT_CA_BUNDLE_PATH)
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)
        self._pool: HTTPConnectionPool = self.poolmanager.connection_from_url(url)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def get_connection_with_tls_context(self, *_args: Any, **_kwargs: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to do: the TLS context verifies, always."""

    def request_url(self, request: PreparedRequest, _proxies: object) -> str:
        return str(request.url).removeprefix(self._origin)

    def build_response(self, _request: PreparedRequest, answer: BaseHTTPResponse) -> Response:
        response = Response()
        response.status_code = answer.status
        response.raw = answer
        return response

    def connect(self, timeout_s: float | None) -> None:
        """Have a connection ready, so that the next request is written at once. Raises `NeverConnected`."""
        connection = self._pool._get_conn()
        try:
            if connection.is_closed:
                connection.timeout = timeout_s
                connection.connect()
        finally:
            self._pool._put_conn(connection)

    def close(self) -> None:
        """Close the idle connections; one in use is closed when its request ends. Later requests connect anew."""
        super().close()
        self._pool = self.poolmanager.connection_from_url(self._url)


def prepare(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> PreparedRequest:
    """Give a request that is ready to go, without the merging and guessing of `requests.Session`."""
    prepared = PreparedRequest()
    prepared.method = method
    prepared.url = url
    prepared.headers = dict(headers)  # type: ignore[assignment]
    prepared.body = body
    return prepared
