"""Calls to something that may freeze, with an end to the waiting: one stuck server must not take all threads."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import Any, TypeVar

Answer = TypeVar("Answer")

#: How long a call waits for its turn when all places are taken by calls that hang.
TURN_WAIT_S = 0.5


class TookTooLong(Exception):
    """There was no answer in time. The call goes on; what becomes of it is not known."""


class NoPlace(TookTooLong):
    """All places were taken, so the call has not begun."""


class Bounded:
    """Runs at most `most` calls at a time, each on a thread of its own, and waits `wait_s` seconds for each.

    Weakness: a thread that hangs cannot be ended; it keeps its place until the server moves again.
    """

    def __init__(self, *, most: int, wait_s: float, turn_wait_s: float = TURN_WAIT_S) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._wait_s = wait_s
        self._turn_wait_s = turn_wait_s

    def run(self, call: Callable[[], Answer]) -> Answer:
        """The call's answer or exception. Raises TookTooLong, and NoPlace where it has not even begun."""
        give_up_at = time.monotonic() + self._wait_s
        if not self._places.acquire(timeout=self._turn_wait_s):
            raise NoPlace
        future: Future[Answer] = Future()
        try:
            threading.Thread(target=self._work, args=(call, future), daemon=True, name="bounded").start()
        except RuntimeError:  # the machine has no thread left
            self._places.release()
            raise NoPlace from None
        try:
            return future.result(timeout=max(0.0, give_up_at - time.monotonic()))
        except NotDone:
            if future.done():  # the call's own timeout, or it ended just now
                return future.result()
            raise TookTooLong from None

    def _work(self, call: Callable[[], Answer], future: "Future[Any]") -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        finally:
            self._places.release()
