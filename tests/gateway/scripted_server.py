"""A raw TCP server that plays a script on each connection, down to the single byte, the reset and the silence."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable

from worker.gateway.client import GatewayClient

ACCEPTED_BODY = b'{"success":true,"data":{"msgId":58224349,"jid":"971500000001","status":"in_progress"}}'

#: What a server does with one connection.
Script = Callable[[socket.socket], None]


def http_answer(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_request(conn: socket.socket) -> bytes:
    """Read one request with its body; b"" when the client has gone."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := conn.recv(65_536)):
            return b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        if not (part := conn.recv(65_536)):
            return b""
        body += part
        received += part
    return received


def answering(answer: bytes) -> Script:
    """Answer every request of the connection with the same bytes."""

    def script(conn: socket.socket) -> None:
        while read_request(conn):
            conn.sendall(answer)

    return script


def answering_once(answer: bytes) -> Script:
    """Answer one request, then close."""

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(answer)

    return script


class ScriptedServer:
    """Listens on a port of its own and plays `script` on each connection, in threads. `requests` are kept."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.connections = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self._listener.accept()
                self.connections += 1
                self._open.append(conn)
                threading.Thread(target=self._play, args=(conn,), daemon=True).start()

    def _play(self, conn: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                conn = self._tls.wrap_socket(conn, server_side=True)
            self._script(conn)
        conn.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for conn in self._open:
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)


#: The fixtures `serve` (start a server) and `connect` (open a client with short timeouts).
Serve = Callable[..., ScriptedServer]
Connect = Callable[..., GatewayClient]
