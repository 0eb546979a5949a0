"""One sandbox process for the whole folder, emptied before each test; a caller of its API; a webhook receiver."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import pytest
from requests import Response, Session

from wasender_sandbox.control import Sandbox
from wasender_sandbox.process import SandboxProcess
from wasender_sandbox.world import DEFAULT_PAT

T = TypeVar("T")

KEY = "sales-key"
TO = "+919876543210"


def _session() -> Session:
    """Blind to proxies of the environment."""
    session = Session()
    session.trust_env = False
    return session


@dataclass
class Caller:
    """Calls the WaSender API with one token, over one kept-alive connection."""

    api_url: str
    token: str = KEY
    session: Session = field(default_factory=_session)

    def call(self, method: str, path: str, body: object = None, **options: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        headers |= options.pop("headers", {})
        options.setdefault("timeout", 10)
        return self.session.request(method, f"{self.api_url}{path}", json=body, headers=headers, **options)

    def get(self, path: str, **options: Any) -> Response:
        return self.call("GET", path, **options)

    def post(self, path: str, body: object = None, **options: Any) -> Response:
        return self.call("POST", path, body, **options)

    def send(self, text: str = "Hello", to: str = TO, **fields: Any) -> Response:
        return self.post("/send-message", {"to": to, "text": text, **fields})

    def accept(self, text: str = "Hello", to: str = TO, **fields: Any) -> int:
        """Send, insist on acceptance, return the msgId."""
        answer = self.send(text, to, **fields)
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"] is True, answer.text
        msg_id: int = answer.json()["data"]["msgId"]
        return msg_id


@dataclass
class Receiver:
    """A webhook endpoint that keeps what it gets and answers what it is told to."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    signatures: list[str | None] = field(default_factory=list)
    #: HTTP statuses to answer first; 200 afterwards.
    answers: list[int] = field(default_factory=list)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [got for got in list(self.events) if got["event"] == event]

    def codes(self) -> list[Any]:
        return [got["data"]["update"]["status"] for got in self.of("messages.update")]


@pytest.fixture(scope="session")
def process() -> Iterator[SandboxProcess]:
    with SandboxProcess(seed=7) as running:
        yield running


@pytest.fixture
def empty(process: SandboxProcess) -> Sandbox:
    """The sandbox as after its start."""
    process.control.reset()
    return process.control


@pytest.fixture
def sandbox(empty: Sandbox) -> Sandbox:
    """A sandbox with one connected channel without limits, and quick ticks."""
    empty.create_channel("sales", KEY, limit="none", phone_number="+15550001111", webhook_secret="hush")
    empty.switch("ack_after_s", 0.02)
    empty.switch("delivered_after_s", 0.04)
    return empty


@pytest.fixture
def caller(sandbox: Sandbox) -> Iterator[Caller]:
    with _session() as session:
        yield Caller(sandbox.api_url, session=session)


@pytest.fixture
def account(empty: Sandbox) -> Iterator[Caller]:
    """A caller with the personal access token."""
    with _session() as session:
        yield Caller(empty.api_url, DEFAULT_PAT, session)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Poll until a value is true and return it; fail with the last value when the deadline passes."""

    def poll(look: Callable[[], T], timeout_s: float = 5.0) -> T:
        deadline = time.monotonic() + timeout_s
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, f"still {found!r} after {timeout_s} s"
            time.sleep(0.005)

    return poll


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.signatures.append(self.headers.get("X-Webhook-Signature"))
            got.events.append(json.loads(body))
            self.send_response(got.answers.pop(0) if got.answers else 200)
            self.send_header("Content-Length", "17")
            self.end_headers()
            self.wfile.write(b'{"received":true}')

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    got.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield got
    server.shutdown()
    thread.join()
    server.server_close()
