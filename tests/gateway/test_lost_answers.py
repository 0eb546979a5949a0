"""Once a request may have been written, whatever goes wrong leaves the outcome unknown, in bounded time."""

import gzip
import http.client
import inspect
import socket
import struct
import time
from collections.abc import Callable

import pytest
import requests.exceptions
import urllib3.exceptions

from tests.gateway.scripted_server import (
    ACCEPTED_BODY,
    Connect,
    Script,
    Serve,
    answering,
    answering_once,
    http_answer,
    read_request,
)
from worker.domain.outcomes import OUTCOME_RULES, Cause, Outcome, OutcomeKind
from worker.gateway import wire
from worker.gateway.client import GatewayClient
from worker.gateway.failures import _CAUSES, unknown_cause
from worker.gateway.wire import GatewayAdapter, NeverConnected

KEY = "c0ffee" * 10 + "beef"


def send(client: GatewayClient) -> Outcome:
    return client.send(KEY, "+917033009600", {"text": "Hello"})


def reset(conn: socket.socket) -> None:
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def take_and_reset(conn: socket.socket) -> None:
    read_request(conn)
    reset(conn)


def take_a_part_and_reset(conn: socket.socket) -> None:
    conn.recv(20)
    reset(conn)


def take_and_be_silent(conn: socket.socket) -> None:
    read_request(conn)
    time.sleep(2)


def dripping(start: bytes, rest: bytes) -> Script:
    """Send `start`, then `rest` byte by byte, each well within the read timeout."""

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(start)
        for byte in rest:
            time.sleep(0.05)
            conn.sendall(bytes([byte]))

    return script


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b'{"success":true,"data":{"msgId":1,"x":"' + b"0" * 10_000_000 + b'"}}')


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (lambda conn: None, Cause.CONNECTION_LOST),
        (lambda conn: read_request(conn) and None, Cause.CONNECTION_LOST),
        (take_and_reset, Cause.CONNECTION_LOST),
        (take_a_part_and_reset, Cause.CONNECTION_LOST),
        (take_and_be_silent, Cause.TIMEOUT),
        (dripping(b"", b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 60), Cause.TIMEOUT),
        (dripping(http_answer(b"", length=200), b" " * 200), Cause.TIMEOUT),
        (dripping(CHUNKED, b"1\r\n{\r\n" * 50), Cause.TIMEOUT),
        (answering_once(b"HTTP/1.1 200 OK\r\nContent-"), Cause.UNREADABLE_ANSWER),
        (answering_once(http_answer(ACCEPTED_BODY, length=500)), Cause.CONNECTION_LOST),
        (answering_once(http_answer(ACCEPTED_BODY, length=20)), Cause.UNREADABLE_ANSWER),
        (answering_once(CHUNKED + b"57\r\n" + ACCEPTED_BODY[:40]), Cause.CONNECTION_LOST),
        (answering_once(CHUNKED + b"zz\r\n" + ACCEPTED_BODY), Cause.CONNECTION_LOST),
        (answering_once(b"SSH-2.0-OpenSSH_9.6\r\n"), Cause.UNREADABLE_ANSWER),
        (answering_once(b"HTTP/1.1 abc OK\r\n\r\n"), Cause.UNREADABLE_ANSWER),
        (answering_once(http_answer(ACCEPTED_BODY, "200 OK", *["X-A: b"] * 200)), Cause.UNREADABLE_ANSWER),
        (answering_once(http_answer(ACCEPTED_BODY, "200 OK", "X: " + "y" * 70_000)), Cause.UNREADABLE_ANSWER),
        (answering_once(http_answer(ACCEPTED_BODY, "200 OK", "Content-Length: 3")), Cause.UNREADABLE_ANSWER),
        (
            answering_once(http_answer(ACCEPTED_BODY, "200 OK", "Content-Encoding: gzip")),
            Cause.UNREADABLE_ANSWER,
        ),
        (answering_once(http_answer(BOMB, "200 OK", "Content-Encoding: gzip")), Cause.UNREADABLE_ANSWER),
        (
            answering_once(http_answer(ACCEPTED_BODY + b" " * 10_000_000)),
            Cause.UNREADABLE_ANSWER,
        ),
        (answering_once(http_answer(b"")), Cause.UNREADABLE_ANSWER),
        (answering_once(b"HTTP/1.1 204 No Content\r\n\r\n"), Cause.UNREADABLE_ANSWER),
        (answering_once(b"HTTP/1.1 103 Early Hints\r\n\r\n"), Cause.SERVER_ERROR),
    ],
)
def test_a_broken_answer_leaves_the_message_in_doubt(
    connect: Connect, serve: Serve, script: Script, cause: Cause
) -> None:
    server = serve(script)
    started = time.monotonic()
    outcome = send(connect(server.url, read_timeout_s=0.5))
    assert time.monotonic() - started < 1.5
    assert outcome.cause is cause
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert server.connections == 1, "a POST is never repeated"


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("401 Unauthorized", Cause.BAD_KEY),
        ("422 Unprocessable Content", Cause.INVALID_REQUEST),
        ("429 Too Many Requests", Cause.THROTTLED),
        ("502 Bad Gateway", Cause.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("body", [ACCEPTED_BODY[:40], ACCEPTED_BODY + b" " * 300_000])
def test_a_status_counts_even_when_its_body_breaks(
    connect: Connect, serve: Serve, status: str, cause: Cause, body: bytes
) -> None:
    server = serve(answering_once(http_answer(body, status, length=900_000)))
    assert send(connect(server.url)).cause is cause


def test_the_size_of_a_compressed_answer_does_not_matter_while_it_is_small(connect: Connect, serve: Serve) -> None:
    server = serve(answering(http_answer(gzip.compress(ACCEPTED_BODY), "200 OK", "Content-Encoding: gzip")))
    client = connect(server.url)
    assert [send(client).cause for _ in range(2)] == [Cause.ACCEPTED, Cause.ACCEPTED]
    assert server.connections == 1


@pytest.mark.parametrize("version", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"])
def test_an_answer_that_ends_with_its_connection_counts_when_it_is_whole(
    connect: Connect, serve: Serve, version: bytes
) -> None:
    whole = serve(answering_once(version + b"\r\n" + ACCEPTED_BODY))
    assert send(connect(whole.url)).cause is Cause.ACCEPTED
    cut = serve(answering_once(version + b"\r\n" + ACCEPTED_BODY[:-1]))
    assert send(connect(cut.url)).cause is Cause.UNREADABLE_ANSWER


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(connect: Connect, serve: Serve) -> None:
    server = serve(answering_once(http_answer(ACCEPTED_BODY)))
    client = connect(server.url)
    for _ in range(3):
        assert send(client).cause is Cause.ACCEPTED
        time.sleep(0.05)
    assert server.connections == 3


def test_a_connection_that_rested_too_long_is_replaced(
    connect: Connect, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(answering(http_answer(ACCEPTED_BODY)))
    client = connect(server.url)
    monkeypatch.setattr(wire, "MAX_IDLE_S", 0.0)
    assert [send(client).cause for _ in range(2)] == [Cause.ACCEPTED, Cause.ACCEPTED]
    assert server.connections == 2


def test_a_closed_client_connects_anew(connect: Connect, serve: Serve) -> None:
    server = serve(answering(http_answer(ACCEPTED_BODY)))
    client = connect(server.url)
    send(client)
    client.close()
    assert send(client).cause is Cause.ACCEPTED
    assert server.connections == 2


def _all_exceptions(module: object) -> list[type[BaseException]]:
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    return [kind for kind in classes if issubclass(kind, Exception) and not issubclass(kind, Warning)]


@pytest.mark.parametrize(
    "kind",
    [kind for kind in _all_exceptions(requests.exceptions) if issubclass(kind, requests.RequestException)],
)
def test_every_exception_of_requests_has_a_cause(kind: type[BaseException]) -> None:
    assert kind in _CAUSES, f"say in worker/gateway/failures.py what {kind.__name__} means"


@pytest.mark.parametrize(
    "kind",
    sorted(
        {
            *_all_exceptions(requests.exceptions),
            *_all_exceptions(urllib3.exceptions),
            *_all_exceptions(http.client),
            TimeoutError,
            ConnectionResetError,
            MemoryError,
            RecursionError,
            ValueError,
            KeyError,
        },
        key=lambda kind: f"{kind.__module__}.{kind.__name__}",
    ),
)
def test_whatever_is_raised_below_the_client_ends_as_unknown(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    error = kind.__new__(kind)
    error.__context__ = NeverConnected("an older failure, still being handled by the caller")

    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(GatewayAdapter, "send", fail)
    outcome = send(connect("http://127.0.0.1:9"))
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert OUTCOME_RULES[unknown_cause(error)].kind is OutcomeKind.UNKNOWN
    assert KEY not in repr(outcome)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_the_wish_to_stop_is_not_swallowed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    fail: Callable[..., None] = lambda *_args, **_kwargs: (_ for _ in ()).throw(kind())  # noqa: E731
    monkeypatch.setattr(GatewayAdapter, "send", fail)
    with pytest.raises(kind):
        send(connect("http://127.0.0.1:9"))
