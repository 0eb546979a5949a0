"""A line to a database server that can be cut and mended: a TCP port that hands every byte on."""

import contextlib
import socket
import threading
from typing import Self

from sqlalchemy import make_url


class CuttableLine:
    def __init__(self, url: str) -> None:
        self._address = make_url(url)
        folder = str(self._address.query["host"])
        self._server = f"{folder}/.s.PGSQL.{self._address.port or 5432}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._cut = False
        #: How many connections came while the line was cut.
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    @property
    def url(self) -> str:
        """The same database at this end of the line."""
        here = self._address.set(host="127.0.0.1", port=self.port, query={"sslmode": "disable"})
        return here.render_as_string(hide_password=False)

    def cut(self) -> None:
        """Break every connection, and each new one at once."""
        self._cut = True
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        self._cut = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                self.refused += 1
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._server)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_hand_on, args=(source, sink), daemon=True).start()


def _hand_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
