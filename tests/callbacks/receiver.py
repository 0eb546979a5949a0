"""A CRM's receiver of callbacks: a real HTTP server that verifies them, and behaves as badly as a test wants."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1yZWNlaXZlci1pbi10ZXN0cw=="


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One callback that came, whatever was answered."""

    id: str
    body: str
    headers: dict[str, str]
    #: Was it answered 2xx?
    taken: bool = False

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)["data"]
        return data

    @property
    def message(self) -> str:
        return str(self.data["id"])

    @property
    def status(self) -> str:
        return str(self.data["status"])


#: What the receiver does with a request; gives the status that it has answered, 0 for none.
Behaviour = Callable[[BaseHTTPRequestHandler], int]


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    def behave(request: BaseHTTPRequestHandler) -> int:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        if status != 204:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        return status

    return behave


def resetting(request: BaseHTTPRequestHandler) -> int:
    """Break the connection as a crashed process does."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Closed at once, although the server's own streams still hold it.
    socket.close(request.connection.detach())
    request.close_connection = True
    return 0


def babbling(request: BaseHTTPRequestHandler) -> int:
    """Answer something that is not HTTP."""
    request.wfile.write(b"\x00\x01 who are you?\r\n\r\n")
    request.close_connection = True
    return 0


OK = answering(204)


class Receiver:
    """Listens on a port of its own. `behave` is asked about every callback; `heard` keeps them in order of arrival.

    While `gate` is closed, nothing is answered: `hanging` sends nothing, `trickling` a byte from time to time.
    """

    def __init__(self, *, secret: str = SECRET, tls: ssl.SSLContext | None = None) -> None:
        self.behave: Callable[[Heard], Behaviour] = lambda _: OK
        self.gate = threading.Event()
        self.gate.set()
        self.heard: list[Heard] = []
        #: Came with a signature that is not ours, or without one.
        self.unverified = 0
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._webhook = Webhook(secret)
        self._tls = tls
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.down()

    def up(self) -> None:
        """Listen; always on the same port."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def do_POST(self) -> None:
                with suppress(OSError):
                    receiver._take(self)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        ThreadingHTTPServer.request_queue_size = 64
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
            self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def down(self) -> None:
        """Nobody listens."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hook?token=of-the-path"

    @property
    def taken(self) -> list[Heard]:
        """What was answered 2xx, in order."""
        return [heard for heard in self.heard if heard.taken]

    def statuses(self, message: str) -> list[str]:
        """What was taken of one message, in order."""
        return [heard.status for heard in self.taken if heard.message == message]

    def hanging(self, request: BaseHTTPRequestHandler) -> int:
        """Send nothing until the gate opens."""
        self.gate.wait(30)
        return OK(request)

    def trickling(self, request: BaseHTTPRequestHandler) -> int:
        """Send a byte of the answer from time to time, so that no single read ever times out."""
        request.wfile.write(b"HTTP/1.1 204 OK\r\nX-Slow: ")
        while not self.gate.wait(0.05):
            request.wfile.write(b"x")
        request.wfile.write(b"\r\n\r\n")
        return 204

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        headers = {name.lower(): value for name, value in request.headers.items()}
        heard = Heard(id=headers.get("webhook-id", ""), body=body, headers=headers)
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.unverified += not self._is_ours(heard)
        status = 0
        try:
            # An answer that is on its way may be followed by the next callback at once, so it is noted before.
            behave = self.behave(heard)
            self._note(heard, taken=behave is OK)
            status = behave(request)
        finally:
            with self._lock:
                self._at_once -= 1
        assert status in {0, 204} or behave is not OK

    def _note(self, heard: Heard, *, taken: bool) -> None:
        with self._lock:
            self.heard.append(Heard(id=heard.id, body=heard.body, headers=heard.headers, taken=taken))

    def _is_ours(self, heard: Heard) -> bool:
        """The signature itself, at whatever time the test's clock stands."""
        told = heard.headers.get("webhook-timestamp", "0")
        at = datetime.fromtimestamp(int(told), tz=UTC)
        return heard.headers.get("webhook-signature") == self._webhook.sign(heard.id, at, heard.body)
