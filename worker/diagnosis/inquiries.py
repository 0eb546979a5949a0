"""Questions to servers that may hang: each on a thread of its own, none waited for longer than there is time."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import Any, Generic, TypeVar, cast

Answer = TypeVar("Answer")


class NoAnswer(Exception):
    """It did not answer in time."""


class Inquiry(Generic[Answer]):
    """One question that is under way."""

    def __init__(self) -> None:
        self._future: Future[Answer] = Future()

    @property
    def done(self) -> bool:
        return self._future.done()

    def answer(self, until: float) -> Answer:
        """The answer or exception, waited for up to this monotonic time. Raises NoAnswer."""
        try:
            return self._future.result(timeout=max(0.0, until - time.monotonic()))
        except NotDone:
            if self._future.done():  # the question's own exception, which happens to be of this kind
                return self._future.result()
            raise NoAnswer from None

    def work(self, call: Callable[[], Answer]) -> None:
        try:
            self._future.set_result(call())
        except BaseException as error:
            self._future.set_exception(error)


class Inquiries:
    """Of each name one question is under way at a time: whoever asks while the former one still hangs shares it.

    Weakness: a thread that hangs cannot be ended; so there are at most as many as there are names.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Each with the time until which it is shared even when it has been answered.
        self._asked: dict[str, tuple[Inquiry[Any], float]] = {}

    def ask(self, name: str, call: Callable[[], Answer], *, shared_s: float = 0.0) -> Inquiry[Answer]:
        """With `shared_s`, whoever asks within so many seconds of the first one gets the same answer."""
        now = time.monotonic()
        with self._lock:
            self._asked = {
                kept: (one, until) for kept, (one, until) in self._asked.items() if not one.done or now < until
            }
            if (former := self._asked.get(name)) is not None:
                return cast(Inquiry[Answer], former[0])
            inquiry = Inquiry[Answer]()
            self._asked[name] = inquiry, now + shared_s
        threading.Thread(target=inquiry.work, args=(call,), daemon=True, name=f"inquiry-{name}").start()
        return inquiry
