"""The CRM: hands over messages while everything breaks, half as Celery tasks and half by HTTP, and notes what it was
promised. It tries again what was refused, under the same id and after a pause, as a CRM does."""

import random
import threading
import time
from collections.abc import Callable
from queue import Empty, PriorityQueue
from typing import Any
from uuid import UUID

import requests
from celery import Celery

from tests.chaos.evidence import Offer
from tests.chaos.place import API_KEY, Place

#: A producer that gives up soon; the CRM itself tries again.
PRODUCER = {
    "broker_connection_timeout": 1,
    "task_publish_retry": False,
    "broker_transport_options": {
        "socket_connect_timeout": 1,
        "socket_timeout": 2,
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
    },
}
AGAIN_AFTER_S = 0.3
THREADS = {"task": 1, "http": 4}

Request = dict[str, Any]


class Crm:
    """Offers `messages` evenly over `span_s` seconds, in threads of its own."""

    def __init__(self, place: Place, *, seed: int, messages: int, recipients: int, span_s: float) -> None:
        self._place = place
        self._rng = random.Random(seed + 1)
        self._offers: dict[UUID, Offer] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._begun = 0.0
        self._threads: list[threading.Thread] = []
        self._celery = Celery(broker=place.broker.url, set_as_current=False)
        self._celery.conf.update(PRODUCER)
        self._lines: dict[str, PriorityQueue[tuple[float, int, Request]]] = {way: PriorityQueue() for way in THREADS}
        for number in range(messages):
            way = self._rng.choice(list(THREADS))
            self._lines[way].put((number / messages * span_s, number, self._request(number, recipients)))

    def start(self) -> None:
        ways = {"task": self._enqueue, "http": self._post}
        self._begun = time.monotonic()
        self._threads = [
            threading.Thread(target=self._offer_all, args=(way, hand_over), daemon=True)
            for way, hand_over in ways.items()
            for _ in range(THREADS[way])
        ]
        for thread in self._threads:
            thread.start()

    @property
    def left(self) -> int:
        """How many messages nobody has taken yet."""
        return sum(line.unfinished_tasks for line in self._lines.values())

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._celery.close()

    @property
    def offers(self) -> list[Offer]:
        with self._lock:
            return list(self._offers.values())

    def _request(self, number: int, recipients: int) -> Request:
        rng = self._rng
        person = rng.randrange(recipients)
        request = {
            "message_id": str(UUID(int=rng.getrandbits(128), version=4)),
            "to": f"+9170330{person:05d}",
            "text": f"message {number}",
            "channel": self._place.channels[person % len(self._place.channels)],
            "priority": "transactional" if rng.random() < 0.1 else "bulk",
        }
        return request | ({"on_doubt": "resend"} if rng.random() < 0.3 else {})

    def _offer_all(self, way: str, hand_over: Callable[[Request], bool]) -> None:
        """In the order of their times; what is refused is offered again a little later."""
        line = self._lines[way]
        while not self._stop.is_set():
            try:
                at_s, number, request = line.get(timeout=0.1)
            except Empty:
                continue
            if self._stop.wait(max(0.0, at_s - self._elapsed())):
                return
            begun_at = time.time()
            self._note(way, request, begun_at, promised=False)
            if hand_over(request):
                self._note(way, request, begun_at, promised=True)
            else:
                line.put((self._elapsed() + AGAIN_AFTER_S, number, request))
                self._stop.wait(AGAIN_AFTER_S)
            line.task_done()

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def _note(self, way: str, request: Request, begun_at: float, *, promised: bool) -> None:
        offer = Offer(
            id=UUID(request["message_id"]), text=request["text"], way=way, begun_at=begun_at, promised=promised
        )
        with self._lock:
            self._offers[offer.id] = offer

    def _post(self, request: Request) -> bool:
        try:
            answer = requests.post(
                f"{self._place.web_url}/api/messages",
                json=request,
                headers={"Authorization": f"Bearer {API_KEY}"},
                timeout=10,
            )
        except requests.RequestException:
            return False
        return answer.status_code in {200, 202}

    def _enqueue(self, request: Request) -> bool:
        try:
            self._celery.send_task("truetick.send_message", kwargs=request, retry=False)
        except Exception:  # whatever the client raises, the broker has promised nothing
            return False
        return True
