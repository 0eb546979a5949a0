"""Where alarms arrive: a real HTTP server on a port of its own that takes notices, refuses them, or never ends."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: Stands in the address in three places, and nowhere else.
SECRET = "s3cret-0f-the-receiver"


class Receiver:
    """Takes what Apprise's `json://` posts. `status` is its answer; `gate`, while closed, keeps answers back."""

    def __init__(self) -> None:
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        #: With the gate closed: send a byte of the answer from time to time, so that no read ever times out.
        self.trickling = False
        self.got: list[dict[str, Any]] = []
        self.headers: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(json.loads(body))
                receiver.headers.append(str(self.headers))
                receiver._answer(self)

            def do_GET(self) -> None:
                receiver._answer(self)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        port = self._server.server_address[1]
        return f"json://user:{SECRET}@127.0.0.1:{port}/{SECRET}?-token={SECRET}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        try:
            if self.trickling:
                request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not self.gate.wait(0.1):
                    request.wfile.write(b"x")
                request.wfile.write(b"\r\nContent-Length: 0\r\n\r\n")
                return
            self.gate.wait(60)
            request.send_response(self.status)
            if self.status in {301, 302}:
                self.status = 200
                request.send_header("Location", "/elsewhere")
            request.send_header("Content-Length", "0")
            request.end_headers()
        except OSError:
            """The other side did not wait."""
