"""What each answer to an upload and to a question about a number means; nothing is ever sent by either."""

import json
import socket
import ssl
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.scripted_server import Connect, Serve, answering, http_answer, read_request
from worker.domain.outcomes import OUTCOME_RULES, Cause, Outcome, OutcomeKind
from worker.gateway import wire
from worker.gateway.media import Uploaded, classify_upload
from worker.gateway.numbers import NOT_KNOWN, NumberAnswer, classify_number

KEY = "c0ffee" * 10
URL = "https://wasenderapi.com/media/6f1c.png"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def upload(status: int, body: object, **headers: str) -> Uploaded | Outcome:
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_upload(status, headers, written, now=0.0, secrets=(KEY,))


def number(status: int, body: object, **headers: str) -> NumberAnswer:
    return classify_number(status, headers, json.dumps(body).encode(), now=0.0)


def test_a_file_is_posted_as_it_is_with_its_own_type(connect: Connect, serve: Serve) -> None:
    seen: list[bytes] = []

    def script(conn: socket.socket) -> None:
        seen.append(read_request(conn))
        conn.sendall(http_answer(json.dumps({"success": True, "publicUrl": URL}).encode()))

    uploaded = connect(serve(script).url).upload(KEY, PNG, "image/png")

    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert uploaded == Uploaded(public_url=URL)
    assert lines[0] == "POST /api/upload HTTP/1.1"
    assert {"Content-Type: image/png", f"Authorization: Bearer {KEY}"} <= {*lines}
    assert body == PNG
    assert URL not in repr(uploaded)


@pytest.mark.parametrize("body", [{"publicUrl": URL}, {"success": True, "data": {"publicUrl": URL}, "help": "x"}])
def test_the_address_is_found_where_it_may_stand(body: object) -> None:
    assert upload(200, body) == Uploaded(public_url=URL)


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (413, {"success": False, "error": "File size exceeds the limit of 16 MB for this file type."}, "refused"),
        (200, {"success": False, "error": "File size exceeds the limit of 16 MB for this file type."}, "refused"),
        (403, {"success": False, "error": "File too large. Upgrade your plan."}, "refused"),
        (422, {"success": False, "error": "File content does not match the declared type."}, "refused"),
        (422, {"success": False, "error": "Unsupported file type."}, "refused"),
        (400, {"success": False, "message": "?"}, "refused"),
        (200, {"success": False}, "refused"),
        (413, b"<html>", "refused"),
        (401, {"success": False, "message": "Invalid API key"}, "key"),
        (401, {"success": False}, "key"),
        (403, {"success": False, "message": "Active subscription or trial is required to use the API"}, "plan"),
        (402, {"success": False}, "plan"),
        (200, {"success": False, "message": "Your Whatsapp Session is not connected"}, "down"),
        (429, {"message": "Too Many Attempts.", "retry_after": 7}, "throttled"),
        (429, b"", "throttled"),
        (200, {"success": False, "message": "Too many requests"}, "throttled"),
        (500, {"success": False, "error": "File size exceeds the limit"}, "trouble"),
        (520, b"<html><title>origin</title>", "trouble"),
        (403, b"<html>", "trouble"),
        (404, {"message": "The route api/upload could not be found."}, "trouble"),
        (408, {"success": False}, "trouble"),
        (302, b"", "trouble"),
        (200, b"<html>", "trouble"),
        (200, {"success": True}, "trouble"),
        (200, {"success": True, "publicUrl": 7}, "trouble"),
        (200, {"success": True, "publicUrl": "ftp://a/b"}, "trouble"),
        (200, {"success": True, "publicUrl": "https://a/b c"}, "trouble"),
        (200, {"success": True, "publicUrl": "https://a/" + "b" * 2048}, "trouble"),
    ],
)
def test_without_an_address_the_message_is_refused_or_waits(status: int, body: object, cause: str) -> None:
    outcome = upload(status, body)
    assert isinstance(outcome, Outcome)
    assert (
        outcome.cause
        is {
            "refused": Cause.MEDIA_REFUSED,
            "key": Cause.BAD_KEY,
            "plan": Cause.NO_SUBSCRIPTION,
            "down": Cause.CHANNEL_DOWN,
            "throttled": Cause.THROTTLED,
            "trouble": Cause.MEDIA_NOT_UPLOADED,
        }[cause]
    )


def test_a_throttled_upload_tells_how_long_to_wait_and_no_secret_is_kept() -> None:
    throttled = upload(429, {"message": "Too Many Attempts.", "retry_after": 7})
    refused = upload(422, {"success": False, "error": f"Bad key {KEY}"})
    assert isinstance(throttled, Outcome)
    assert isinstance(refused, Outcome)
    assert throttled.retry_after_s == 7
    assert KEY not in refused.detail


@given(st.integers(100, 599), st.one_of(st.binary(max_size=80), st.dictionaries(st.text(), st.integers())))
def test_no_answer_to_an_upload_leaves_a_message_in_doubt(status: int, body: object) -> None:
    outcome = upload(status, body)
    assert isinstance(outcome, Uploaded) or OUTCOME_RULES[outcome.cause].kind is not OutcomeKind.UNKNOWN


def test_an_upload_that_gets_no_answer_was_not_sent(connect: Connect, serve: Serve) -> None:
    def close(conn: socket.socket) -> None:
        read_request(conn)

    assert connect(serve(close).url).upload(KEY, PNG, "image/png") == Outcome(
        cause=Cause.MEDIA_NOT_UPLOADED, detail="ConnectionError"
    )
    gone = connect("http://127.0.0.1:1").upload(KEY, PNG, "image/png")
    assert isinstance(gone, Outcome)
    assert gone.cause is Cause.UNREACHABLE
    no_key = connect("http://127.0.0.1:1").upload("a\nb", PNG, "image/png")
    assert isinstance(no_key, Outcome)
    assert no_key.cause is Cause.BAD_KEY


#: More than the buffers of both ends hold, so that it is written as fast as it is read.
LARGE = bytes(12 * 1024 * 1024)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_large_file_is_given_the_time_that_a_slow_line_needs(
    connect: Connect, serve: Serve, server_tls: ssl.SSLContext, certificate: Path, encrypted: bool
) -> None:
    """Writing takes longer than the connect timeout, although every byte of it goes out."""

    def read_slowly(conn: socket.socket) -> None:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        time.sleep(1.5)
        read_request(conn)
        conn.sendall(http_answer(json.dumps({"success": True, "publicUrl": URL}).encode()))

    server = serve(read_slowly, server_tls if encrypted else None)
    client = connect(server.url, ca_file=str(certificate), connect_timeout_s=1, read_timeout_s=5)

    assert client.upload(KEY, LARGE, "video/mp4") == Uploaded(public_url=URL)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_line_that_trickles_does_not_hold_an_upload_for_ever(
    connect: Connect,
    serve: Serve,
    server_tls: ssl.SSLContext,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    encrypted: bool,
) -> None:
    monkeypatch.setattr(wire, "SLOWEST_WRITING_BYTES_PER_S", 48 * 1024 * 1024)

    def trickle(conn: socket.socket) -> None:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        while conn.recv(16 * 1024):
            time.sleep(0.05)

    server = serve(trickle, server_tls if encrypted else None)
    client = connect(server.url, ca_file=str(certificate), connect_timeout_s=1)
    began = time.monotonic()

    became = client.upload(KEY, LARGE, "video/mp4")

    assert isinstance(became, Outcome)
    assert became.cause is Cause.MEDIA_NOT_UPLOADED
    assert time.monotonic() - began < 6


def test_a_number_is_asked_about_in_one_get(connect: Connect, serve: Serve) -> None:
    seen: list[bytes] = []

    def script(conn: socket.socket) -> None:
        while request := read_request(conn):
            seen.append(request)
            conn.sendall(http_answer(b'{"success":true,"data":{"exists":false,"help":"x"}}'))

    assert connect(serve(script).url).on_whatsapp(KEY, "+917033009600") == NumberAnswer(exists=False)
    assert seen[0].startswith(b"GET /api/on-whatsapp/%2B917033009600 HTTP/1.1\r\n")


@pytest.mark.parametrize("exists", [True, False])
def test_a_plain_yes_or_no_is_an_answer(exists: bool) -> None:
    assert number(200, {"success": True, "data": {"exists": exists}}) == NumberAnswer(exists=exists)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"success": True, "data": {}}),
        (200, {"success": True, "data": {"exists": "false"}}),
        (200, {"success": True, "data": {"exists": None}}),
        (200, {"success": True, "data": {"exists": 0}}),
        (200, {"success": True, "data": []}),
        (200, {"success": True, "exists": False}),
        (200, {"success": False, "data": {"exists": False}}),
        (200, {"data": {"exists": False}}),
        (404, {"success": True, "data": {"exists": False}}),
        (500, {"success": True, "data": {"exists": False}}),
        (401, {"success": False, "message": "Invalid API key"}),
        (200, "no"),
    ],
)
def test_every_other_answer_leaves_it_open_whether_the_number_exists(status: int, body: object) -> None:
    assert number(status, body) == NOT_KNOWN


def test_being_asked_too_often_is_told_with_the_time_to_wait() -> None:
    assert number(429, {"message": "Too Many Attempts.", "retry_after": 30}) == NumberAnswer(
        throttled=True, wait_s=30
    )
    daily = {"X-RateLimit-Daily-Remaining": "0", "X-RateLimit-Daily-Reset": "7200"}
    assert number(429, {"message": "Too Many Attempts."}, **daily).wait_s == 7200
    assert number(429, {}) == NumberAnswer(throttled=True)


def test_no_answer_about_a_number_leaves_it_open(connect: Connect, serve: Serve) -> None:
    page = serve(answering(http_answer(b"<html>", "520 origin")))
    assert connect(page.url).on_whatsapp(KEY, "+917033009600") == NOT_KNOWN
    assert connect("http://127.0.0.1:1").on_whatsapp(KEY, "+917033009600") == NOT_KNOWN
    assert connect("http://127.0.0.1:1").on_whatsapp("", "+917033009600") == NOT_KNOWN
