"""The transactional outbox: what the CRM's transaction keeps is sent, what it undoes never was."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, String, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from crm_bridge import outbox
from crm_bridge.outbox import Outbox
from tests.conftest import API_KEY, SECRET_KEY
from tests.live_stack import ROOT
from tests.real_servers import Valkey
from worker.domain.errors import Conflict, InvalidNumber, InvalidRequest, NotFound
from worker.models import Message
from worker.parts import Parts
from worker.readiness import DatabaseNotReady

HELLO = {"to": "70330 09600", "text": "Hello"}


class Base(DeclarativeBase):
    """The CRM's own tables."""


class Order(Base):
    __tablename__ = "crm_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The CRM's engine: plainly made, on the database that it shares with Truetick."""
    engine = create_engine(database_url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def send_in(parts: Parts, woken: list[str]) -> Callable[..., Any]:
    return Outbox(parts, lambda: woken.append("woken")).send_in


def count(engine: Engine, table: type[DeclarativeBase] = Message) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_message_is_there_and_workers_are_woken_once_the_transaction_is_committed(
    session: Session, engine: Engine, send_in: Callable[..., Any], woken: list[str]
) -> None:
    session.add(Order(name="one"))
    first, second = send_in(session, **HELLO), send_in(session, **HELLO, crm_ref="2")
    assert (woken, session.execute(select(func.count()).select_from(Message)).scalar_one()) == ([], 2)
    session.commit()
    assert woken == ["woken"]
    with Session(engine) as another:
        rows = another.execute(select(Message.id, Message.recipient, Message.crm_ref).order_by(Message.seq)).all()
    assert rows == [(first, "+917033009600", None), (second, "+917033009600", "2")]
    session.execute(select(1))
    session.commit()
    assert woken == ["woken"], "a later transaction without messages woke somebody"


@pytest.mark.parametrize("end", ["rollback", "close", "error"])
def test_what_the_transaction_undoes_never_was(
    session: Session, engine: Engine, send_in: Callable[..., Any], woken: list[str], end: str
) -> None:
    session.add(Order(name="one"))
    session.commit()
    send_in(session, **HELLO)
    if end == "error":
        session.add(Order(name="one"))
        with pytest.raises(Exception, match=r"(?i)unique"):
            session.commit()
        session.rollback()
    else:
        getattr(session, end)()
    session.execute(select(1))
    session.commit()
    assert (count(engine), woken) == (0, [])


def test_a_transaction_that_fails_before_a_message_takes_none(
    engine: Engine, send_in: Callable[..., Any], woken: list[str]
) -> None:
    def order() -> None:
        with Session(engine) as session, session.begin():
            send_in(session, **HELLO)
            raise LookupError("out of stock")

    with pytest.raises(LookupError):
        order()
    assert (count(engine), woken) == (0, [])
    with Session(engine) as session, session.begin():
        send_in(session, **HELLO)
    assert (count(engine), woken) == (1, ["woken"])


def test_a_released_savepoint_wakes_nobody_before_the_commit(
    session: Session, engine: Engine, send_in: Callable[..., Any], woken: list[str]
) -> None:
    session.add(Order(name="one"))
    session.flush()
    with session.begin_nested():
        send_in(session, **HELLO)
        with session.begin_nested():
            send_in(session, **HELLO)
        assert woken == []
    assert woken == []
    session.commit()
    assert (count(engine), woken) == (2, ["woken"])


def test_a_savepoint_that_is_rolled_back_takes_its_messages_and_their_wake_up_with_it(
    session: Session, engine: Engine, send_in: Callable[..., Any], woken: list[str]
) -> None:
    session.add(Order(name="one"))
    session.flush()
    outer = session.begin_nested()
    with session.begin_nested():
        send_in(session, **HELLO)
    outer.rollback()
    session.commit()
    assert (count(engine), count(engine, Order), woken) == (0, 1, [])


def test_messages_beside_a_savepoint_that_is_rolled_back_are_sent(
    session: Session, engine: Engine, send_in: Callable[..., Any], woken: list[str]
) -> None:
    send_in(session, **HELLO, crm_ref="kept")
    savepoint = session.begin_nested()
    send_in(session, **HELLO, crm_ref="undone")
    savepoint.rollback()
    session.commit()
    assert woken == ["woken"]
    with Session(engine) as another:
        assert another.execute(select(Message.crm_ref)).scalars().all() == ["kept"]


def test_a_scoped_session_is_as_good(engine: Engine, send_in: Callable[..., Any], woken: list[str]) -> None:
    db = scoped_session(sessionmaker(engine))
    send_in(db, **HELLO)
    db.commit()
    db.remove()
    assert (count(engine), woken) == (1, ["woken"])


def test_the_same_request_again_is_the_same_message_and_wakes_nobody(
    session: Session, engine: Engine, send_in: Callable[..., Any], woken: list[str]
) -> None:
    chosen = uuid4()
    first = send_in(session, **HELLO, message_id=chosen, idempotency_key="order:1")
    session.commit()
    again = send_in(session, **HELLO, idempotency_key="order:1")
    session.commit()
    assert (first, again, count(engine), woken) == (chosen, chosen, 1, ["woken"])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"to": "12"}, InvalidNumber),
        ({"text": "{{a}}", "values": {}}, InvalidRequest),
        ({"channel": "nowhere"}, NotFound),
        ({"idempotency_key": "used"}, Conflict),
        ({"phone": "1"}, TypeError),
    ],
)
def test_what_is_refused_leaves_the_transaction_as_usable_as_before(
    session: Session, engine: Engine, send_in: Callable[..., Any], wrong: dict[str, Any], error: type[Exception]
) -> None:
    session.add(Order(name="one"))
    send_in(session, to="70330 09601", text="Another", idempotency_key="used")
    with pytest.raises(error):
        send_in(session, **HELLO | wrong)
    send_in(session, **HELLO)
    session.commit()
    assert (count(engine), count(engine, Order)) == (2, 1)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_that_is_not_truetickss_is_told_and_the_transaction_goes_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, build: Callable[..., Parts], sqlite_url: str
) -> None:
    outbox = Outbox(build(sqlite_url), lambda: None)
    url = request.getfixturevalue("empty_postgres_url") if kind == "postgresql" else f"sqlite:///{tmp_path}/crm.db"
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Order(name="one"))
        session.flush()
        with pytest.raises(DatabaseNotReady, match="the same database as Truetick"):
            outbox.send_in(session, to="70330 09600", text="Hello")
        session.commit()
    assert count(engine, Order) == 1
    engine.dispose()


@pytest.fixture
def empty_postgres_url(postgres: Any) -> Iterator[str]:
    with postgres.database(migrated=False) as url:
        yield url


class AsyncSession:
    """Like SQLAlchemy's, it is no Session."""


def test_asynchronous_sessions_are_refused_in_clear_words(build: Callable[..., Parts], sqlite_url: str) -> None:
    outbox = Outbox(build(sqlite_url), lambda: None)
    asynchronous = create_engine(sqlite_url)
    asynchronous.dialect.is_async = True
    for session in (AsyncSession(), Session(asynchronous), "session"):
        with pytest.raises(TypeError, match=r"POST /api/messages"):
            outbox.send_in(session, to="70330 09600", text="Hello")  # type: ignore[arg-type]


CRM = """
import os, sys
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from crm_bridge import send_in

engine = create_engine(os.environ["DATABASE_URL"])
def order(end, **message):
    with Session(engine) as session:
        send_in(session, to="70330 09600", text="Hello", **message)
        getattr(session, end)()

order("rollback")
order("commit", crm_ref="parent")
if "fork" in sys.argv:
    pid = os.fork()
    order("commit", crm_ref="child" if pid == 0 else "parent again")
    if pid:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
from celery import current_app
assert current_app.main != "truetick", "the CRM's own Celery app was replaced"
"""


@pytest.mark.parametrize(
    ("database_url", "trouble"), [("sqlite", ""), ("sqlite", "dead"), ("postgresql", "")], indirect=["database_url"]
)
def test_a_crm_needs_only_the_environment_that_workers_have(
    database_url: str, broker: Valkey, tmp_path: Path, trouble: str, engine: Engine
) -> None:
    if trouble:
        broker.kill()
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": broker.url,
        "WASENDER_API_KEY": API_KEY,
        "TRUETICK_SECRET_KEY": SECRET_KEY,
        "TRUETICK_VAR_DIR": str(tmp_path / "var"),
    }
    done = subprocess.run(
        [sys.executable, "-c", CRM, "fork"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert count(engine) == 3
    if trouble:
        assert "wake_up_not_published" in done.stdout + done.stderr
    else:
        assert broker.client.llen("truetick.drain") == 3


def test_threads_that_are_the_first_of_a_forked_child_agree_on_one_outbox(
    build: Callable[..., Parts], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child finds what its parent left; the one who comes second must not throw away what the first has made."""
    both = threading.Barrier(2)
    here = build(sqlite_url)

    def slowly() -> Parts:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)  # both are in the middle of it, if both may be
        return here

    monkeypatch.setattr(outbox, "_outboxes", {-1: Outbox(here, lambda: None)})
    monkeypatch.setattr(outbox, "parts", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(outbox._outbox) for _ in range(2))
    assert first.result() is second.result()
