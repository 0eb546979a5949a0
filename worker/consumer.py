"""Celery's consumer, made to outlive a broker that goes away in the middle of a task, and to tell of itself."""

import structlog
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.control import inspect_command

from worker import self_report

log = structlog.get_logger(__name__)

inspect_command(name=self_report.COMMAND)(self_report.report)


class LastingConsumer(Consumer):
    """A worker that loses its broker connects anew, instead of ending.

    A task that is not acknowledged yet belongs to the connection that is gone. Celery 5.7 takes that connection
    apart, and then kombu's Redis channel fails with an AttributeError nobody expects: when it wants to put the task
    back, and when the task is acknowledged later. Neither is possible any more, and neither is needed: the broker
    hands the task out again after the visibility timeout.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        for request in (*state.reserved_requests, *state.active_requests):
            request.acknowledged = True
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            log.warning("broker_connection_taken_apart", problem=str(error), advice="the worker connects anew")
