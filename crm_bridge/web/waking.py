"""Wakes workers from a thread of its own: no request waits for the broker, and wake-ups that pile up become one."""

import threading
import time
from collections.abc import Callable

import structlog
from kombu.exceptions import ChannelError

from worker.celery_app import BrokerTrouble
from worker.celery_app import app as celery

log = structlog.get_logger(__name__)

#: A broker that is away is not asked again, nor complained about, sooner than this.
PAUSE_AFTER_TROUBLE_S = 1.0
#: Where drain runs are asked for, and how many wake-ups there are enough: while no worker takes them, they lie there.
DRAIN_QUEUE, ENOUGH = "truetick.drain", 3


def publish_drain() -> None:
    """Ask a worker for a drain run, from a thread that may wait."""
    _publish("truetick.drain", "the next sweep finds the messages", unless_asked_in=DRAIN_QUEUE)


def publish_hearing() -> None:
    """Ask a worker to use what webhooks said, from a thread that may wait."""
    _publish("truetick.hear_webhooks", "the next look finds the facts")


def publish_check() -> None:
    """Ask a worker to look at the channels now, from a thread that may wait."""
    _publish("truetick.check_channels", "the next check looks at the channels")


def _publish(task: str, otherwise: str, *, unless_asked_in: str | None = None) -> None:
    """A broker that is away costs only time: what there is to do stands in the database."""
    try:
        if unless_asked_in is None or _waiting_in(unless_asked_in) < ENOUGH:
            celery.send_task(task, expires=60)
    except BrokerTrouble as error:
        log.warning("wake_up_not_published", problem=type(error).__name__, advice=otherwise)
        time.sleep(PAUSE_AFTER_TROUBLE_S)


def _waiting_in(queue: str) -> int:
    """How many tasks the broker holds there. One that has none need not know the queue."""
    with celery.pool.acquire(block=True) as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:
            return 0


class Waker:
    """Weakness: a wake-up asked for just before the process ends may be lost; the sweep finds the work then."""

    def __init__(self, publish: Callable[[], None], *, pause_s: float = 0.0) -> None:
        """`publish` must not raise. It is called at once, and not again before `pause_s` seconds are over."""
        self._publish = publish
        self._pause_s = pause_s
        self._asked = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Ask for the work; returns at once."""
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
            self._publish()
            time.sleep(self._pause_s)
