"""The client of a Python CRM: hands messages to Truetick through the broker.

Needs Celery with the broker's library (`celery[redis]`), and nothing else.
"""

from collections.abc import Mapping
from typing import Any, Final, Self, Unpack
from uuid import UUID

from crm_bridge.broker_line import BrokerLine, NotEnqueued
from crm_bridge.send_fields import SendFields, as_request

__all__ = ["NotEnqueued", "Truetick"]

TASK: Final = "truetick.send_message"
#: Celery's default queue: there Truetick's workers look for what CRMs send.
QUEUE: Final = "celery"


class Truetick:
    """Made once, and used by all threads and child processes of the CRM. Connects with the first message.

    >>> truetick = Truetick(broker_url="redis://broker.example:6379/0")
    >>> message_id = truetick.send(to="70330 09600", text="Hello")
    """

    def __init__(self, broker_url: str, *, queue: str = QUEUE) -> None:
        """`broker_url` is the CELERY_BROKER_URL of Truetick's workers. Raises ValueError if it is no address, and
        ImportError where the library for such a broker is missing."""
        self._line = BrokerLine(broker_url)
        self._queue = queue

    def __repr__(self) -> str:
        return f"<Truetick queue={self._queue!r}>"  # the address may hold a password

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, **message: Unpack[SendFields]) -> UUID:
        """Put a message into the queue and return its id, under which its status can be followed.

        TypeError or ValueError: it can be no message. NotEnqueued, within 1.5 s: the broker did not take it; keep the
        message in the CRM, and send it again later with the same `message_id`. Whatever else is wrong with it (a
        number that nobody could have) shows as status `failed`, with its reason.
        """
        message_id, request = as_request(message)
        self._publish(str(message_id), request)
        return message_id

    def close(self) -> None:
        """Close this process's connections to the broker; the next message opens new ones."""
        self._line.close()

    def _publish(self, message_id: str, request: Mapping[str, Any]) -> None:
        self._line.publish(TASK, task_id=message_id, queue=self._queue, kwargs=request)
