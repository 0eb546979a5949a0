"""The transactional outbox: a message is stored in the CRM's own transaction, with what it tells of, or not at all.

For a CRM whose SQLAlchemy session works on Truetick's database. Settings come from the environment, as for a worker.
"""

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Unpack
from uuid import UUID, uuid4
from weakref import WeakSet

import structlog
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.orm import Session, scoped_session

from crm_bridge.after_commit import call_after_commit
from crm_bridge.broker_line import BrokerLine, NotEnqueued
from crm_bridge.send_fields import SendFields, as_request
from worker import intake
from worker.domain.message_request import parse_request
from worker.models import Base, Message
from worker.outbox.events import Source
from worker.parts import Parts, forget_parts, parts
from worker.readiness import DatabaseNotReady

log = structlog.get_logger(__name__)

#: A wake-up that nobody has heard by then is worthless: the sweep has long found the message.
WAKE_UP_EXPIRES_S = 60
#: The CRM's commit waits for it, and a broker that is away should not be felt there for long.
WAKE_UP_WITHIN_S = 1.0
#: What storing a message writes to.
_TABLES = tuple(Base.metadata.tables[name] for name in ("channels", "messages", "events"))


def send_in(session: Session | scoped_session[Any], **message: Unpack[SendFields]) -> UUID:
    """Store a message in the session's transaction, and return its id. It is sent once that transaction is committed,
    and has never been when it is rolled back.

    Raises TypeError or ValueError for what can be no message, and a TruetickError (`InvalidNumber`, `InvalidRequest`,
    `Conflict`, `NotFound`, `DatabaseNotReady`) for what cannot be stored; the transaction is as usable as before.
    A broker that is away does not matter: then the workers find the message by themselves, within seconds.
    """
    return _outbox().send_in(session, **message)


class Outbox:
    """What `send_in` works with in one process. `wake` tells the workers; it has to be quick, and never raises."""

    def __init__(self, parts: Parts, wake: Callable[[], None]) -> None:
        self._parts = parts
        self._wake = wake
        #: Engines of the CRM on whose database our tables have been seen.
        self._known: WeakSet[Engine] = WeakSet()

    def send_in(self, session: Session | scoped_session[Any], **message: Unpack[SendFields]) -> UUID:
        """See `send_in` above."""
        own = _synchronous(session)
        message_id, given = as_request(message)
        request = parse_request(given)
        connection = own.connection(bind_arguments={"clause": Message.__table__})
        self._require_tables(connection)
        enqueued = intake.send_request(
            self._parts, connection, request, now=self._parts.clock(), message_id=message_id, source=Source.API
        )
        if enqueued.created:
            call_after_commit(own, self._wake)
        return enqueued.message_id

    def _require_tables(self, connection: Connection) -> None:
        """A missing table would only be found by an error, and on PostgreSQL that ends the CRM's transaction."""
        if connection.engine in self._known:
            return
        present = inspect(connection)
        for table in _TABLES:
            columns = present.get_columns(table.name) if present.has_table(table.name) else []
            if not {column.name for column in table.columns} <= {column["name"] for column in columns}:
                raise DatabaseNotReady(
                    f"The session given to send_in works on a database whose table {table.name} is not Truetick's. "
                    "It has to be the same database as Truetick's own, at this version (truetick db upgrade).",
                    code="database_not_migrated",
                )
        self._known.add(connection.engine)


def _synchronous(session: Any) -> Session:
    own = session() if isinstance(session, scoped_session) else session
    if not isinstance(own, Session):
        raise TypeError(
            f"send_in needs a Session of SQLAlchemy, not {type(own).__name__}. In asynchronous code, use "
            "Truetick(broker_url=...).send(...) in a thread, or POST /api/messages."
        )
    if own.get_bind(clause=Message.__table__).dialect.is_async:
        raise TypeError(
            "send_in cannot use a session on an asynchronous engine: it would hold up the event loop. Use "
            "Truetick(broker_url=...).send(...) in a thread, or POST /api/messages."
        )
    return own


def _wake(line: BrokerLine) -> None:
    try:
        line.publish(
            "truetick.drain",
            task_id=str(uuid4()),
            queue="truetick.drain",
            kwargs={},
            within_s=WAKE_UP_WITHIN_S,
            expires=WAKE_UP_EXPIRES_S,
        )
    except NotEnqueued as error:
        log.warning("wake_up_not_published", problem=str(error), advice="the next sweep finds the message")


_outboxes: dict[int, Outbox] = {}
#: By process, for a child may be forked while another thread of its parent holds the lock.
_making: dict[int, threading.Lock] = {}


def _outbox() -> Outbox:
    """This process's own; a forked child leaves the connections of its parent alone. Threads that come first at once
    make one of them.
    """
    pid = os.getpid()
    found = _outboxes.get(pid)
    if found is not None:
        return found
    with _making.setdefault(pid, threading.Lock()):
        if pid not in _outboxes:
            if _outboxes:
                forget_parts()
                _outboxes.clear()
            own = parts()
            _outboxes[pid] = Outbox(own, partial(_wake, BrokerLine(own.settings.broker_url)))
        return _outboxes[pid]
