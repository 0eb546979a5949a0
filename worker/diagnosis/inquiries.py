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
        self._under_way: dict[str, Inquiry[Any]] = {}

    def ask(self, name: str, call: Callable[[], Answer]) -> Inquiry[Answer]:
        with self._lock:
            self._under_way = {kept: one for kept, one in self._under_way.items() if not one.done}
            if (former := self._under_way.get(name)) is not None:
                return cast(Inquiry[Answer], former)
            inquiry = self._under_way[name] = Inquiry[Answer]()
        threading.Thread(target=inquiry.work, args=(call,), daemon=True, name=f"inquiry-{name}").start()
        return inquiry
