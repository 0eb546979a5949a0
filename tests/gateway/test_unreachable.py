"""Before a connection stands nothing can have been written: these failures, and only these, prove "not sent"."""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.scripted_server import ACCEPTED_BODY, Connect, Serve, answering, http_answer, read_request
from worker.domain.evidence import Connection
from worker.domain.outcomes import Cause, OutcomeKind
from worker.gateway.client import GatewayClient

KEY = "c0ffee" * 10 + "beef"


def assert_nothing_was_sent(client: GatewayClient) -> None:
    outcome = client.send(KEY, "+917033009600", {"text": "Hello"})
    assert outcome.cause is Cause.UNREACHABLE
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert outcome.http_status is None
    assert outcome.detail
    assert client.status(KEY).connection is Connection.UNVERIFIED
    assert client.message_info(KEY, 7).problem == "gateway_unreachable"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port where connecting gets no answer at all, because nobody accepts and the queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            waiting[-1].connect(listener.getsockname())
    yield listener.getsockname()[1]
    for sock in [*waiting, listener]:
        sock.close()


def test_a_name_that_does_not_resolve(connect: Connect) -> None:
    assert_nothing_was_sent(connect("http://wasender.invalid"))


def test_a_refused_connection(connect: Connect, closed_port: int) -> None:
    assert_nothing_was_sent(connect(f"http://127.0.0.1:{closed_port}"))
    assert_nothing_was_sent(connect(f"https://127.0.0.1:{closed_port}"))


def test_a_connection_that_nobody_answers(connect: Connect, full_backlog: int) -> None:
    started = time.monotonic()
    assert_nothing_was_sent(connect(f"http://127.0.0.1:{full_backlog}", connect_timeout_s=0.2))
    assert time.monotonic() - started < 3


def test_a_certificate_that_nobody_trusts(connect: Connect, serve: Serve, server_tls: ssl.SSLContext) -> None:
    server = serve(answering(http_answer(ACCEPTED_BODY)), server_tls)
    assert_nothing_was_sent(connect(server.url))


def test_a_certificate_of_another_host(
    connect: Connect, serve: Serve, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    server = serve(answering(http_answer(ACCEPTED_BODY)), server_tls)
    assert_nothing_was_sent(connect(f"https://localhost:{server.port}", ca_file=str(certificate)))


def test_garbage_in_place_of_a_tls_handshake(connect: Connect, serve: Serve) -> None:
    server = serve(lambda conn: conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert_nothing_was_sent(connect(f"https://127.0.0.1:{server.port}"))


def test_a_connection_closed_in_the_handshake(connect: Connect, serve: Serve) -> None:
    server = serve(lambda conn: None)
    assert_nothing_was_sent(connect(f"https://127.0.0.1:{server.port}"))


def test_a_connection_reset_in_the_handshake(connect: Connect, serve: Serve) -> None:
    def reset(conn: socket.socket) -> None:
        conn.recv(10)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert_nothing_was_sent(connect(f"https://127.0.0.1:{serve(reset).port}"))


def test_a_handshake_that_never_ends(connect: Connect, serve: Serve) -> None:
    server = serve(lambda conn: time.sleep(3))
    assert_nothing_was_sent(connect(f"https://127.0.0.1:{server.port}", connect_timeout_s=0.2))


def test_a_trusted_connection_that_is_reset_after_the_request_is_no_proof(
    connect: Connect, serve: Serve, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    def take_and_reset(conn: socket.socket) -> None:
        read_request(conn)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    server = serve(take_and_reset, server_tls)
    outcome = connect(server.url, ca_file=str(certificate)).send(KEY, "+917033009600", {"text": "Hello"})
    assert outcome.cause is Cause.CONNECTION_LOST
    assert outcome.kind is OutcomeKind.UNKNOWN


def test_tls_garbage_after_the_request_is_no_proof(
    connect: Connect, serve: Serve, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    def take_and_talk_nonsense(conn: socket.socket) -> None:
        read_request(conn)
        socket.socket(fileno=conn.detach()).sendall(b"nonsense that is no TLS record")

    server = serve(take_and_talk_nonsense, server_tls)
    outcome = connect(server.url, ca_file=str(certificate)).send(KEY, "+917033009600", {"text": "Hello"})
    assert outcome.kind is OutcomeKind.UNKNOWN


def test_a_trusted_server_is_spoken_to(
    connect: Connect, serve: Serve, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    server = serve(answering(http_answer(ACCEPTED_BODY)), server_tls)
    client = connect(server.url, ca_file=str(certificate))
    assert client.send(KEY, "+917033009600", {"text": "Hello"}).gateway_msg_id == 58224349
    assert client.send(KEY, "+917033009600", {"text": "Hello"}).cause is Cause.ACCEPTED
    assert server.connections == 1
