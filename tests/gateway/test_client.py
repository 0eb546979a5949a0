"""The client over real sockets: what it writes, what it keeps secret, and many threads at once."""

import json
import logging
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.scripted_server import ACCEPTED_BODY, Connect, Serve, answering, http_answer, read_request
from worker.domain.errors import NotConfigured
from worker.domain.evidence import Ack, Connection
from worker.domain.outcomes import Cause
from worker.gateway.client import GatewayClient
from worker.gateway.line import api_url

KEY = "k3y-" + "c0ffee" * 10
TO = "+917033009600"


def test_a_send_is_one_post_as_documented(connect: Connect, serve: Serve) -> None:
    seen: list[bytes] = []

    def script(conn: socket.socket) -> None:
        while request := read_request(conn):
            seen.append(request)
            conn.sendall(http_answer(ACCEPTED_BODY))

    connect(serve(script).url).send(KEY, TO, {"text": "Hello"})
    head, _, body = seen.pop().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert not seen
    assert lines[0] == "POST /api/send-message HTTP/1.1"
    assert f"Authorization: Bearer {KEY}" in lines
    assert "Content-Type: application/json" in lines
    assert "Accept: application/json" in lines
    assert json.loads(body) == {"to": TO, "text": "Hello"}


def test_a_redirect_is_not_followed(connect: Connect, serve: Serve) -> None:
    server = serve(answering(http_answer(b"", "307 Temporary Redirect", "Location: /api/send-message")))
    assert connect(server.url).send(KEY, TO, {"text": "Hello"}).cause is Cause.WRONG_ADDRESS
    assert server.connections == 1


def test_the_environment_is_not_read(connect: Connect, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server = serve(answering(http_answer(ACCEPTED_BODY)))
    assert connect(server.url).send(KEY, TO, {"text": "Hello"}).cause is Cause.ACCEPTED


def test_info_and_status_are_asked_for(connect: Connect, serve: Serve) -> None:
    def script(conn: socket.socket) -> None:
        while request := read_request(conn):
            is_info = request.startswith(b"GET /api/messages/7/info ")
            body = b'{"success":true,"data":{"msgId":7,"status":2}}' if is_info else b'{"status":"connected"}'
            assert is_info or request.startswith(b"GET /api/status ")
            conn.sendall(http_answer(body))

    client = connect(serve(script).url)
    assert client.message_info(KEY, 7).ack is Ack.SERVER
    assert client.status(KEY).connection is Connection.CONNECTED


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "422 Unprocessable", "429 Slow", "500 Oh"])
def test_an_echoed_key_reaches_no_log_and_no_outcome(
    connect: Connect, serve: Serve, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps(
        {
            "success": False,
            "status": f"state {KEY}",
            "message": f"unknown key {KEY.upper()} for {TO}",
            "errors": {KEY: [KEY]},
        }
    )
    client = connect(serve(answering(http_answer(body.encode(), status, f"X-Echo: {KEY}"))).url)
    shown = [client.send(KEY, TO, {"text": "Hello"}), client.status(KEY), client.message_info(KEY, 7), client]
    text = (repr(shown) + str(vars(client)) + caplog.text).lower()
    assert KEY.lower() not in text
    assert "c0ffee" not in text
    assert TO[1:] not in text


@pytest.mark.parametrize("key", ["", " ", "a\r\nX: y", "a\nb", "schlüssel", "ключ", "k\x00", " key", "\ud800"])
def test_a_key_that_fits_no_header_blocks_without_a_request(connect: Connect, serve: Serve, key: str) -> None:
    server = serve(answering(http_answer(ACCEPTED_BODY)))
    client = connect(server.url)
    outcome = client.send(key, TO, {"text": "Hello"})
    assert outcome.cause is Cause.BAD_KEY
    assert client.status(key).connection is Connection.REFUSED
    assert client.message_info(key, 7).problem == "bad_key"
    assert server.connections == 0


def test_a_content_that_cannot_be_written_is_rejected_without_a_request(connect: Connect, serve: Serve) -> None:
    server = serve(answering(http_answer(ACCEPTED_BODY)))
    outcome = connect(server.url).send(KEY, TO, {"text": "a", "image_url": "b", "video_url": "c"})
    assert outcome.cause is Cause.INVALID_REQUEST
    assert outcome.detail == "A message carries one content, not image_url and video_url."
    assert server.connections == 0


def test_threads_share_a_client_and_each_gets_its_own_answer(connect: Connect, serve: Serve) -> None:
    def script(conn: socket.socket) -> None:
        while request := read_request(conn):
            number = re.search(rb'"text":"(\d+)"', request)
            assert number
            conn.sendall(http_answer(b'{"success":true,"data":{"msgId":%s}}' % number[1]))

    server = serve(script)
    client = connect(server.url, pool_size=8)
    names = set()

    def send(number: int) -> int | None:
        names.add(threading.get_ident())
        return client.send(KEY, TO, {"text": str(number)}).gateway_msg_id

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(send, range(1, 301))) == list(range(1, 301))
    assert server.connections <= 8


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://www.wasenderapi.com/api", "https://www.wasenderapi.com/api"),
        ("https://www.wasenderapi.com/api/", "https://www.wasenderapi.com/api"),
        ("https://www.wasenderapi.com", "https://www.wasenderapi.com/api"),
        (" https://www.wasenderapi.com/ \n", "https://www.wasenderapi.com/api"),
        ("HTTP://LocalHost:8080", "http://localhost:8080/api"),
        ("http://sandbox/wasender", "http://sandbox/wasender/api"),
        ("http://[::1]:8080/api//", "http://[::1]:8080/api"),
    ],
)
def test_the_base_url_may_lack_its_api_suffix(given: str, used: str) -> None:
    assert api_url(given) == used


@pytest.mark.parametrize(
    "url",
    [
        "",
        "www.wasenderapi.com/api",
        "ftp://www.wasenderapi.com",
        "https://",
        "https://user:secret@host/api",
        "https://host/api?key=secret",
        "https://host:99999/",
        "http://[::1",
    ],
)
def test_an_unusable_base_url_is_told_at_once_without_repeating_it(url: str) -> None:
    with pytest.raises(NotConfigured, match="WASENDER_BASE_URL") as refusal:
        GatewayClient(url)
    assert "secret" not in str(refusal.value)
