"""Publishes callbacks as Celery tasks into a CRM's own queue: what the broker has taken is delivered."""

from datetime import datetime
from typing import Any, Final

from celery import Celery

from worker.callbacks.addresses import TaskAddress
from worker.callbacks.breaker import DELIVERED, Verdict
from worker.callbacks.payload import Letter

#: A broker that is away or frozen is noticed within about a second, in a worker as in any other producer.
BOUNDED: Final[dict[str, Any]] = {
    "socket_connect_timeout": 0.5,
    "socket_timeout": 1,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}


class TaskLine:
    """A producer of its own, for a worker's is patient. Safe to share between threads."""

    def __init__(self, address: TaskAddress, broker_url: str) -> None:
        self._address = address
        self._producer = Celery("truetick.callbacks", broker=broker_url, set_as_current=False)
        self._producer.conf.update(
            broker_transport_options=BOUNDED,
            broker_connection_timeout=1,
            task_publish_retry=False,
            task_ignore_result=True,
            task_send_sent_event=False,
        )

    def tell(self, letter: Letter, now: datetime) -> Verdict:  # noqa: ARG002 - nothing is signed
        """Publish one callback, once; its id is the task's. Never raises for what the broker does."""
        try:
            self._producer.send_task(
                self._address.task,
                task_id=letter.id,
                kwargs=dict(letter.payload),
                queue=self._address.queue,
                # What the CRM's Flower and logs would show of it: no numbers.
                argsrepr="()",
                kwargsrepr=f"<{letter.payload['type']}>",
            )
        except Exception as error:  # kombu, redis and sockets each have theirs
            said = type(error).__name__
            return Verdict(problem=f"{self._address.masked}: the broker did not take the task ({said}).")
        return DELIVERED

    def close(self) -> None:
        """Close the connections to the broker."""
        self._producer.close()
