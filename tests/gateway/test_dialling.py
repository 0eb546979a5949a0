"""Connecting ends in time, whatever the resolver and the addresses do; all who want a name share one look-up."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.test_unreachable import closed_port, full_backlog
from tests.real_servers import wait_until
from worker.gateway import dialling
from worker.gateway.dialling import NotLookedUp, Place, dial

__all__ = ["closed_port", "full_backlog"]

Ask = Callable[[str, int, int], Sequence[Place]]


def hanging_until(answered: threading.Event, asked: list[str] | None = None, *ports: int) -> Ask:
    """A resolver that knows no name by heart, and says where it is (127.0.0.1 at these ports) when it is let."""

    def ask(host: str, _port: int, flags: int = 0) -> Sequence[Place]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if asked is not None:
            asked.append(host)
        answered.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    return ask


@pytest.fixture
def answered() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.fixture
def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def test_an_address_needs_no_look_up(monkeypatch: pytest.MonkeyPatch, listening: socket.socket) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread for nothing"))
    with listening, dial("127.0.0.1", port_of(listening), within_s=1) as sock:
        assert sock.gettimeout() == 1


def test_all_who_want_a_name_of_a_resolver_that_hangs_wait_for_one_thread_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch, answered: threading.Event, listening: socket.socket
) -> None:
    answered.clear()
    asked: list[str] = []
    monkeypatch.setattr(dialling, "_ask_system", hanging_until(answered, asked, port_of(listening)))

    def give_up(_: int) -> float:
        began = time.monotonic()
        with pytest.raises(NotLookedUp, match=r"within 0\.2 s"):
            dial("crm.example", 80, within_s=0.2)
        return time.monotonic() - began

    with ThreadPoolExecutor(8) as many:
        assert max(many.map(give_up, range(8))) < 2
    assert asked == ["crm.example"]

    answered.set()
    wait_until(lambda: not dialling._under_way, within_s=5, what="the end of the look-up")
    with listening, dial("crm.example", 80, within_s=1):
        assert asked == ["crm.example"] * 2, "an old answer is not kept"


def test_a_name_that_does_not_exist_says_so_at_once() -> None:
    with pytest.raises(socket.gaierror):
        dial("truetick.invalid", 80, within_s=10)
    assert dialling._under_way == {}


def test_an_address_that_swallows_everything_leaves_time_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
    answered: threading.Event,
    listening: socket.socket,
    full_backlog: int,
    closed_port: int,
) -> None:
    ports = (full_backlog, closed_port, port_of(listening))
    monkeypatch.setattr(dialling, "_ask_system", hanging_until(answered, None, *ports))
    with listening, dial("crm.example", 80, within_s=0.6) as sock:
        assert sock.getpeername()[1] == port_of(listening)
        assert sock.gettimeout() == 0.6


def test_addresses_that_all_swallow_everything_take_no_longer_than_one(
    monkeypatch: pytest.MonkeyPatch, answered: threading.Event, full_backlog: int
) -> None:
    monkeypatch.setattr(dialling, "_ask_system", hanging_until(answered, None, *[full_backlog] * 5))
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        dial("crm.example", 80, within_s=0.3)
        pytest.fail("it connected")
    assert 0.2 < time.monotonic() - began < 1
