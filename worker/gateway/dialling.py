"""Opens a TCP connection within a time, all in all: looking the name up, and trying each of its addresses.

The system's resolver takes as long as it likes, and nothing can interrupt it, so a thread waits for it in our place.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from urllib3.util.connection import allowed_gai_family

#: What `socket.getaddrinfo` gives: family, kind, protocol, canonical name and address.
Place = tuple[Any, Any, Any, str, Any]


class NotLookedUp(TimeoutError):
    """The name was not looked up in time."""


#: Look-ups that go on, by process, host and port: all who want the same one wait for one thread, so that a resolver
#: that hangs keeps as many threads as there are names. A process that was forked begins its own.
_under_way: dict[tuple[int, str, int], "Future[Sequence[Place]]"] = {}


def dial(host: str, port: int, *, within_s: float | None, options: Sequence[tuple[Any, ...]] = ()) -> socket.socket:
    """Give a connected socket with this timeout. Raises NotLookedUp, TimeoutError, `socket.gaierror` or OSError.

    The time is shared between the host's addresses, so that one which swallows everything leaves some to the others.
    """
    give_up_at = None if within_s is None else time.monotonic() + within_s
    places = _look_up(host.strip("[]"), port, within_s)
    problem: OSError = TimeoutError("the name has no address")
    for number, (family, kind, protocol, _, address) in enumerate(places):
        share_s = None if give_up_at is None else (give_up_at - time.monotonic()) / (len(places) - number)
        if share_s is not None and share_s <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(share_s)
            sock.connect(address)
            sock.settimeout(within_s)
            return sock
        except OSError as error:
            sock.close()
            problem = error
    raise problem


def _look_up(host: str, port: int, within_s: float | None) -> Sequence[Place]:
    try:
        return _ask_system(host, port, socket.AI_NUMERICHOST)  # an address needs no look-up
    except socket.gaierror:
        pass
    mine: Future[Sequence[Place]] = Future()
    key = (os.getpid(), host, port)
    found = _under_way.setdefault(key, mine)
    if found is mine:
        threading.Thread(target=_work, args=(key, mine), daemon=True, name="look-up").start()
    try:
        return found.result(within_s)
    except TimeoutError:
        raise NotLookedUp(f"the name was not looked up within {within_s:g} s") from None


def _work(key: tuple[int, str, int], future: "Future[Sequence[Place]]") -> None:
    _, host, port = key
    try:
        places = _ask_system(host, port)
    except BaseException as error:
        _under_way.pop(key, None)
        future.set_exception(error)
    else:
        _under_way.pop(key, None)
        future.set_result(places)


def _ask_system(host: str, port: int, flags: int = 0) -> Sequence[Place]:
    return socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM, 0, flags)
