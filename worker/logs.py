"""Logging: structured events of our own and of the libraries, in one form, without texts, numbers or secrets."""

import logging
import logging.config
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.settings import Settings

#: Each task says "sent", "received" and "succeeded"; our own events tell more with less.
_CHATTY = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "kombu", "alembic")
#: Its warnings quote response headers, which a server could fill with anything it was sent.
_QUOTING = "urllib3"

#: Tracebacks without local variables, among which are keys and texts.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))

#: Where Celery logs, with its whole body, a task that it cannot take: a CRM's numbers and texts stand in there.
_TELLTALE = "celery.worker.consumer.consumer"


class _WithoutBody(logging.Filter):
    """Replaces "the full contents of the message body" by what went wrong with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "contents of the message body" in str(record.msg) or "decode message body" in str(record.msg):
            args = record.args if isinstance(record.args, tuple) else ()
            errors = (f"{type(arg).__name__}: {arg}" for arg in args if isinstance(arg, Exception))
            record.msg = "A task in the queue was not understood and is dropped (%s). Is its name or format right?"
            record.args = (next(errors, "it has no task's form")[:200],)
            record.exc_info = None
        return True


def _short_logger_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = str(event.get("logger", "")).removeprefix("worker.")
    return event


def _processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _short_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def configure_logging(settings: Settings) -> None:
    """Send every log line of this process to standard error, as text for people or as JSON lines for machines."""
    last: list[Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            )
        ]
    )
    structlog.configure(
        processors=[*_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_processors(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.getLogger(_QUOTING).setLevel(logging.ERROR)
    logging.getLogger(_TELLTALE).filters[:] = [_WithoutBody()]
    # Its only lines, at DEBUG, hold each task's arguments.
    logging.getLogger("celery.pool").setLevel(logging.INFO)
    if settings.log_level != "DEBUG":
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
