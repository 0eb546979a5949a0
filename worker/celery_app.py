"""The Celery app: its configuration, and what happens when a worker process begins and ends."""

import os
from typing import Any

import structlog
from celery import Celery, signals
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from worker import redis_transport
from worker.logs import configure_logging
from worker.parts import forget_parts, parts, warm_up
from worker.readiness import DatabaseNotReady, require_ready
from worker.settings import settings

log = structlog.get_logger(__name__)

#: What publishing raises when the broker is away, frozen, full or refuses: kombu wraps some of it, and lets what the
#: server itself answered ("out of memory", "read-only replica") through as it is.
BrokerTrouble = (OperationalError, KombuError, RedisError, OSError)

# Flower's pages are open to whoever reaches them, and it would listen everywhere. An option or a variable says
# otherwise; this is only read by `celery -A worker flower`.
os.environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")

app = Celery("truetick", include=["worker.tasks"])
app.config_from_object("celeryconfig")

#: A worker waits patiently for its broker; it has nothing better to do. What a killed worker had taken of the CRM's
#: tasks comes back after the visibility timeout, so it is short; `intake.LONGEST_WAIT_S` stays well below it.
WORKER_TRANSPORT = {
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "visibility_timeout": 120,
}
#: A socket file has no keep-alive to set.
_SOCKET_FILE_OPTIONS = {name: value for name, value in WORKER_TRANSPORT.items() if name != "socket_keepalive"}


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure_logging(settings())


@signals.celeryd_init.connect
def _be_patient(conf: Any, **_: Any) -> None:
    redis_transport.use()
    local = str(conf.broker_url).startswith("redis+socket:")
    conf.broker_transport_options = _SOCKET_FILE_OPTIONS if local else WORKER_TRANSPORT
    conf.broker_connection_timeout = 5


@signals.worker_init.connect
def _warm_up(**_: Any) -> None:
    """What is slow the first time is done before tasks are taken, so that the first ones keep their order."""
    try:
        require_ready(parts().engine)
    except DatabaseNotReady as problem:  # it may get ready later; until then tasks wait in the broker
        log.error(problem.code, advice=problem.message)
    warm_up(parts())


@signals.worker_process_init.connect
def _start_afresh(**_: Any) -> None:
    forget_parts()


@signals.worker_ready.connect
def _look_around(**_: Any) -> None:
    """A worker that has just come up learns at once what the schedule would tell it seconds later."""
    for name in ("truetick.check_channels", "truetick.reconcile_messages", "truetick.sweep"):
        app.send_task(name, expires=60)


@signals.worker_shutting_down.connect
def _stop_soon(**_: Any) -> None:
    parts().stopping.set()
