"""The line to the broker: publishes one task by name, and knows within 1.5 s when it cannot.

Looking its name up, trying each of its addresses and shaking hands may take long, and nothing interrupts them. So a
thread does the publishing, and whoever waits for it gives up in time; a gate keeps it from publishing after that.

Needs Celery with its broker's library, and nothing else. Settings of the CRM's own Celery, in its code or its
environment, do not reach it.
"""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from amqp.exceptions import AccessRefused  # type: ignore[import-untyped]
from celery import Celery
from kombu import Connection
from kombu.pools import ProducerPool

try:
    from redis.exceptions import AuthenticationError, ResponseError
except ImportError:  # another broker than Redis
    _HAS_REDIS = False

    class ResponseError(Exception):  # type: ignore[no-redef]
        """Never raised."""

    class AuthenticationError(Exception):  # type: ignore[no-redef]
        """Never raised."""

else:
    _HAS_REDIS = True

#: What kombu opens with the redis library. Without it, it stumbles over itself, here or only when it publishes.
_OF_REDIS: Final = ("redis://", "rediss://", "redis+socket://", "sentinel://")
#: All in all; what is left of 1.5 s is for a busy machine.
WITHIN_S: Final = 1.3
#: Connecting to one address, and each question after that.
CONNECT_TIMEOUT_S: Final = 0.4
ANSWER_TIMEOUT_S: Final = 0.8
#: How many threads publish at the same time, and how long another one waits for its turn.
AT_ONCE: Final = 64
TURN_TIMEOUT_S: Final = 0.2

#: Publishing fails quickly, and is never tried again behind the caller's back.
_BOUNDED: Final[dict[str, Any]] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    "socket_timeout": ANSWER_TIMEOUT_S,
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    # For RabbitMQ: published means that it said so.
    "confirm_publish": True,
}


class NotEnqueued(Exception):
    """The broker did not take the message. `message_id` is the one that it would have got.

    `perhaps_enqueued` is False when nothing was enqueued for certain, which is nearly always so. It is True when the
    broker fell silent in the moment of publishing: it may take the message once it is back. Sending again with the
    same `message_id` is harmless either way, for the same id never makes a second message.
    """

    def __init__(self, sentence: str, *, message_id: str, perhaps_enqueued: bool) -> None:
        super().__init__(sentence)
        self.message_id = message_id
        self.perhaps_enqueued = perhaps_enqueued

    def __reduce__(self) -> Any:
        """It may have to travel between processes."""
        again = partial(NotEnqueued, message_id=self.message_id, perhaps_enqueued=self.perhaps_enqueued)
        return again, (str(self),)


class BrokerLine:
    """Safe to share between threads, and to keep over a fork: a child opens connections of its own."""

    def __init__(self, broker_url: str) -> None:
        if not isinstance(broker_url, str) or "://" not in broker_url:
            raise ValueError("broker_url has to be the broker's address, such as redis://broker.example:6379/0")
        self._url = broker_url
        self._lines: dict[int, tuple[Celery, ProducerPool]] = {}
        if broker_url.startswith(_OF_REDIS) and not _HAS_REDIS:
            raise ImportError("the library for redis:// is missing: pip install 'celery[redis]'")
        try:
            Connection(broker_url)  # connects nowhere
        except ImportError:
            raise ImportError(
                "the library for such a broker_url is missing: install Celery with the extra for it, "
                "as 'celery[sqs]' is for sqs://"
            ) from None
        except Exception:  # its sentence would show a part of the password
            raise ValueError(
                "broker_url cannot be understood; signs such as / and # in a password are %-encoded"
            ) from None

    def publish(
        self,
        task: str,
        *,
        task_id: str,
        queue: str,
        kwargs: Mapping[str, Any],
        within_s: float = WITHIN_S,
        **options: Any,
    ) -> None:
        """Publish one task. Raises NotEnqueued, after `within_s` at the latest."""
        gate, done = _Gate(), Future[None]()
        publish = partial(self._publish, gate, task, task_id=task_id, queue=queue, kwargs=kwargs, **options)
        try:
            _begin(publish, done)
            done.result(within_s)
        except Exception as error:  # kombu, redis, amqp and sockets each have theirs
            raise _not_enqueued(error, task_id, is_underway=not gate.close()) from None
        except BaseException:  # whoever was interrupted takes it for not sent
            gate.close()
            raise

    def _publish(
        self, gate: "_Gate", task: str, *, task_id: str, queue: str, kwargs: Mapping[str, Any], **options: Any
    ) -> None:
        app, producers = self._line()
        with producers.acquire(block=True, timeout=TURN_TIMEOUT_S) as producer:
            self._ask(producer)
            gate.pass_through()
            app.send_task(
                task,
                kwargs=dict(kwargs),
                task_id=task_id,
                queue=queue,
                producer=producer,
                ignore_result=True,
                add_to_parent=False,
                result_cls=_NoResult,
                # What Celery's events and logs show of it: no numbers, no texts.
                argsrepr="()",
                kwargsrepr="<...>",
                **options,
            )

    def close(self) -> None:
        """Close the connections of this process."""
        line = self._lines.pop(os.getpid(), None)
        if line is not None:
            line[1].connections.force_close_all()
            line[0].close()

    def _line(self) -> tuple[Celery, ProducerPool]:
        """This process's own. Two threads that come first at once agree, for `setdefault` is one step."""
        pid = os.getpid()
        line = self._lines.get(pid)
        return line if line is not None else self._lines.setdefault(pid, self._open())

    def _open(self) -> tuple[Celery, ProducerPool]:
        """Connects nowhere yet."""
        app = Celery("truetick.crm", set_as_current=False, loader="celery.loaders.app:AppLoader")
        app.config_from_object(
            {"task_serializer": "json", "task_publish_retry": False, "task_send_sent_event": False}
        )
        # Given here and not to the app, for there the CRM's CELERY_BROKER_URL would go before it.
        connection = Connection(self._url, connect_timeout=1, transport_options=dict(_BOUNDED))
        return app, ProducerPool(connection.Pool(limit=AT_ONCE), limit=AT_ONCE)

    @staticmethod
    def _ask(producer: Any) -> None:
        """Have the broker answer, over the connection that is used next. A frozen one would keep what is written to
        it, and take it when nobody reckons with it any more."""
        acquire = getattr(producer.channel, "conn_or_acquire", None)
        if acquire is not None:  # Redis; RabbitMQ confirms what it has taken
            with acquire() as client:
                client.ping()


class _Gate:
    """Between asking the broker and publishing: whoever waits closes it, and then nothing is published any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_passed = False

    def pass_through(self) -> None:
        """Raises TimeoutError where it has been closed."""
        with self._lock:
            if self._is_closed:
                raise TimeoutError
            self._is_passed = True

    def close(self) -> bool:
        """Is it closed now? It is not where the publishing has gone through before."""
        with self._lock:
            self._is_closed = not self._is_passed
            return self._is_closed


def _begin(publish: Callable[[], None], done: "Future[None]") -> None:
    # With the caller's context, by which tracing knows what belongs together.
    thread = threading.Thread(target=copy_context().run, args=(_work, publish, done), daemon=True, name="publish")
    try:
        thread.start()
    except RuntimeError:  # a process that ends, or has no more threads: better unbounded than not at all
        _work(publish, done)


def _work(publish: Callable[[], None], done: "Future[None]") -> None:
    try:
        publish()
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(None)


def _not_enqueued(error: Exception, task_id: str, *, is_underway: bool) -> NotEnqueued:
    # kombu wraps some errors in its own, and lets others through.
    cause = error if error.__cause__ is None else error.__cause__
    is_refused = isinstance(cause, ResponseError | AuthenticationError | AccessRefused)
    if isinstance(cause, AuthenticationError | AccessRefused):
        said = "keeps this user out. Nothing was enqueued; correct the user and password in broker_url"
    elif is_refused:
        said = "refused it: it is full, read-only or keeps this user out. Nothing was enqueued; send it again later"
    elif is_underway:
        said = (
            "fell silent in the moment of publishing, so it may or may not have been enqueued. Send it again with "
            "the same message_id: it cannot become two"
        )
    else:
        said = "does not answer. Nothing was enqueued; send it again later"
    return NotEnqueued(
        f"Message {task_id}: the broker {said} ({type(cause).__name__}).",
        message_id=task_id,
        perhaps_enqueued=is_underway and not is_refused,
    )


class _NoResult:
    """What `send_task` makes of a task's id where there is no result to wait for."""

    def __init__(self, _task_id: str) -> None:
        self.ignored = True
