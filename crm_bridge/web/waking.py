"""Wakes the drain from a thread of its own: no request waits for the broker, and wake-ups that pile up become one."""

import threading

from worker import tasks


class Waker:
    """Weakness: a wake-up asked for just before the process ends may be lost; the sweep finds the message then."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Ask for a drain run; returns at once."""
        self._asked.set()
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, daemon=True, name="waker")
                self._thread.start()

    def _work(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            tasks.wake_drain()
