"""What is refused before the application sees it: in the API's own form, and nothing of it is logged."""

import json
import socket
from collections.abc import Callable
from http.client import HTTPResponse

import pytest

from tests.bridge.conftest import KEY, WebServer

SECRET = "tt-917033009600"
HOST = "Host: x\r\n"


@pytest.fixture
def server(web_server: Callable[..., WebServer], sqlite_url: str) -> WebServer:
    return web_server(sqlite_url)


def ask(server: WebServer, request: str) -> HTTPResponse:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(request.encode())
        answer = HTTPResponse(line)
        answer.begin()
        answer.body = json.loads(answer.read())  # type: ignore[attr-defined]
        return answer


def test_what_is_no_http_is_told_as_every_other_error_and_leaves_no_trace_of_its_words(server: WebServer) -> None:
    api = f"GET /api/messages HTTP/1.1\r\n{HOST}"
    refused = {
        f"GET /api/messages?crm_ref={SECRET} and more HTTP/1.1\r\n{HOST}\r\n": 400,
        f"{SECRET}\r\n\r\n": 400,
        f"GET /{SECRET} HTTP/9.9\r\n{HOST}\r\n": 400,
        f"{api}Authorization Bearer {SECRET}\r\n\r\n": 400,
        f"{api}X-{SECRET} : x\r\n\r\n": 400,
        f"{api}Content-Length: {SECRET}\r\n\r\n": 400,
        f"{api}Transfer-Encoding: {SECRET}\r\n\r\n": 501,
        f"{api}Expect: {SECRET}\r\n\r\n": 417,
        f"GET /{SECRET}?{'x' * 9000} HTTP/1.1\r\n{HOST}\r\n": 414,
        f"GET /{SECRET}?{'x' * 4000} HTTP/1.1\r\n{HOST}\r\n": 414,
        f"GET /{'%2e' * 1400} HTTP/1.1\r\n{HOST}\r\n": 414,
        f"{api}X-Long: {SECRET}{'x' * 17_000}\r\n\r\n": 431,
        f"{api}{''.join(f'X-{n}: {SECRET}' + chr(13) + chr(10) for n in range(201))}\r\n": 431,
    }
    for request, status in refused.items():
        answer = ask(server, request)
        told = answer.body  # type: ignore[attr-defined]
        assert (answer.status, told["status"]) == (status, status), request[:80]
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert set(told) == {"type", "title", "status", "detail", "code"}
        assert SECRET not in json.dumps(told)
    assert SECRET not in server.log.read_text()
    assert "request_not_served" in server.log.read_text()


def test_what_the_application_takes_the_server_lets_through(server: WebServer) -> None:
    key = f"Authorization: Bearer {KEY}\r\n"
    many = "".join(f"X-{number}: {'x' * 40}\r\n" for number in range(150))
    longest = f"GET /api/messages?crm_ref={'x' * 200}{'&unused=' * 400} HTTP/1.1\r\n{HOST}{key}"
    large = f"GET /api/messages HTTP/1.1\r\n{HOST}{key}X-Long: {'x' * 15_000}\r\n\r\n"

    assert ask(server, f"GET /api/messages HTTP/1.1\r\n{HOST}{key}{many}\r\n").status == 200
    assert ask(server, large).status == 200
    assert ask(server, f"{longest}\r\n").status == 422, "unknown parameters are the application's word"
