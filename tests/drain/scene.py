"""A CRM, its channels and its workers, and what the tests ask: the sandbox first, the database second."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, select, text, update

from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import evidence, health, intake
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.message_request import parse_request
from worker.domain.pace import Pace
from worker.drain import Drainer
from worker.models import Attempt, Channel, Event, Message
from worker.outbox.events import Source
from worker.parts import Parts
from worker.sweep import sweep

QUICK = "200/1"
#: A window that holds nothing up: most tests are not about it.
WIDE = 1000


def number(index: int) -> str:
    return f"+9170330{index:05d}"


class Crm:
    """Channels and messages of one database, put there as the CRM's task does."""

    def __init__(self, parts: Parts, sandbox: Sandbox) -> None:
        self.parts = parts
        self.sandbox = sandbox

    # What there is

    def channels(
        self,
        *names: str,
        pace: str = QUICK,
        limit: str = "none",
        state: ChannelState = ChannelState.UP,
        window: int = WIDE,
        **options: Any,
    ) -> None:
        """Channels on both sides; `limit` is the sandbox's. The default one is there already on its side, and has the
        pace that the settings say."""
        with transaction(self.parts.engine) as connection:
            for name in names:
                if name == "default":
                    registry.ensure_default(connection, self.parts.settings.pace, self.parts.clock())
                    self.sandbox.change_channel(name, limit=limit, **options)
                else:
                    key = (name.encode().hex() * 64)[:64]
                    self.sandbox.create_channel(name, api_key=key, limit=limit, **options)
                    new = NewChannel(name=name, pace=Pace.parse(pace), api_key_encrypted=self.parts.vault.seal(key))
                    registry.add(connection, new, self.parts.clock())
            values = {"state": state, "unacked_window": window}
            connection.execute(update(Channel).where(Channel.name.in_(names)).values(**values))

    def enqueue(self, texts: Iterable[str], *, to: Callable[[int], str] = number, **request: Any) -> None:
        """One message for each text, in one transaction; `to` gives the recipient by position."""
        with transaction(self.parts.engine) as connection:
            for index, words in enumerate(texts):
                wanted = parse_request({"to": to(index), "text": words} | request)
                intake.send_request(
                    self.parts,
                    connection,
                    wanted,
                    now=self.parts.clock(),
                    message_id=uuid4(),
                    source=Source.API,
                )

    def set_channel(self, name: str, **values: Any) -> None:
        with transaction(self.parts.engine) as connection:
            connection.execute(update(Channel).where(Channel.name == name).values(**values))

    def set_message(self, seq: int, **values: Any) -> None:
        with transaction(self.parts.engine) as connection:
            connection.execute(update(Message).where(Message.seq == seq).values(**values))

    # What the database says

    def read(self, query: Any) -> Sequence[Row[Any]]:
        with snapshot(self.parts.engine) as connection:
            return connection.execute(query).all()

    def messages(self) -> Sequence[Row[Any]]:
        return self.read(select(Message.__table__).order_by(Message.seq))

    def states(self) -> list[str]:
        return [row.state.value for row in self.read(select(Message.state).order_by(Message.seq))]

    def channel(self, name: str = "default") -> Row[Any]:
        return self.read(select(Channel.__table__).where(Channel.name == name))[0]

    def attempts(self) -> Sequence[Row[Any]]:
        return self.read(select(Attempt.__table__).order_by(Attempt.message_seq, Attempt.number))

    def moves(self) -> list[tuple[str | None, str]]:
        """The messages' transitions in order."""
        rows = self.read(select(Event.before, Event.after).where(Event.message_seq.is_not(None)).order_by(Event.id))
        return [(row.before, row.after) for row in rows]

    def events(self, seq: int | None) -> Sequence[Row[Any]]:
        """The events of one message in order; None: of the channels."""
        of_it = Event.message_seq.is_(None) if seq is None else Event.message_seq == seq
        return self.read(select(Event.__table__).where(of_it).order_by(Event.id))

    def lease_taken(self, name: str = "default", token: str = "f" * 32) -> None:
        """Another worker takes the channel, as it may once the lease has run out."""
        with transaction(self.parts.engine) as connection:
            connection.execute(
                update(Channel).where(Channel.name == name).values(lease_token=token, lease_holder="another")
            )

    # What the sandbox saw

    def texts(self, **which: Any) -> list[str]:
        return [entry.text or "" for entry in self.sandbox.ledger(**which)]


def drain(parts: Parts) -> int:
    """Runs one after another until none asks for another. Returns how often another was asked for."""
    drainer = Drainer()
    wakes: list[None] = []
    before = -1
    while len(wakes) > before:
        before = len(wakes)
        drainer.drain(parts, lambda: wakes.append(None))
    return len(wakes)


@contextmanager
def never_idle(parts: Parts) -> Iterator[None]:
    """A worker that sends and asks about ticks all the time, on a default channel that has just been checked."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            drain(parts)
            evidence.reconcile_messages(parts)

    health.check_channels(parts)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(20)
    assert not thread.is_alive(), "it does not end"


@contextmanager
def working(*workers: Parts, sweeping: bool = False) -> Iterator[Callable[[], None]]:
    """Workers in threads, each with its drainer, woken by the function given, and by the sweep if there is one.

    Whatever breaks in them, or does not end, fails the test.
    """
    woken = [threading.Event() for _ in workers]
    ended = threading.Event()
    problems: list[BaseException] = []

    def work(parts: Parts, mine: threading.Event) -> None:
        drainer = Drainer()
        runs: list[threading.Thread] = []

        def run() -> None:
            try:
                drainer.drain(parts, mine.set)
            except BaseException as error:
                problems.append(error)

        while not ended.is_set():
            if mine.wait(0.02):
                mine.clear()
                runs.append(threading.Thread(target=run))
                runs[-1].start()
        for started in runs:
            started.join(20)
            assert not started.is_alive(), "a run does not end"

    def beat() -> None:
        interval_s = workers[0].settings.sweep_interval_s
        while not ended.wait(interval_s):
            if sweep(workers[0]).wake_drain:
                woken[0].set()

    threads = [threading.Thread(target=work, args=pair) for pair in zip(workers, woken, strict=True)]
    threads += [threading.Thread(target=beat)] if sweeping else []
    for thread in threads:
        thread.start()

    def wake() -> None:
        for event in woken:
            event.set()

    try:
        yield wake
    finally:
        ended.set()
        for parts in workers:
            parts.stopping.set()
        for thread in threads:
            thread.join(30)
    assert not problems, problems


def until_accepted(sandbox: Sandbox, count: int, within_s: float) -> None:
    """Asks only for what is new, so that the sandbox has time for its work."""
    seen = 0

    def enough() -> bool:
        nonlocal seen
        seen += len(sandbox.ledger(after=seen - 1))
        return seen >= count

    wait_until(enough, within_s=within_s, what=f"the acceptance of {count} messages")


def spacings(sandbox: Sandbox) -> dict[str, list[float]]:
    """Seconds between one arrival and the next, by channel."""
    arrived = sorted((request.channel, request.arrived_at) for request in sandbox.requests())
    by_channel = {name: [at for _, at in group] for name, group in groupby(arrived, key=lambda pair: pair[0])}
    return {name: [after - before for before, after in pairwise(times)] for name, times in by_channel.items()}


def overlaps(sandbox: Sandbox) -> list[str]:
    """Recipients who had two messages in flight at once."""
    found = []
    requests = sorted(sandbox.requests(), key=lambda request: (request.channel, request.to, request.arrived_at))
    for one, other in pairwise(requests):
        same = (one.channel, one.to) == (other.channel, other.to)
        if same and (one.answered_at is None or other.arrived_at < one.answered_at):
            found.append(one.to)
    return found


def terminate_connections(parts: Parts) -> None:
    """PostgreSQL ends every connection to this database, as in a restart."""
    with parts.engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
