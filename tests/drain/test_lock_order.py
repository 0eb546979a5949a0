"""In which order runs lock rows on PostgreSQL, where everybody does: channels by id, then messages, then the rest."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select

from tests.drain.scene import Crm, drain
from wasender_sandbox.control import Sandbox
from worker.database import transaction
from worker.models import Message
from worker.outbox.questions import give_back_checks
from worker.parts import Parts

#: Statements that lock channels, or write to them, by how they begin and end.
_FIRST = re.compile(r"SELECT channels\.id\s+FROM channels\s+WHERE channels\.id IN .*FOR NO KEY UPDATE\s*$", re.S)
_LEASES = re.compile(r"UPDATE channels SET lease_token=%\(token\)s", re.S)
_TOUCHES = re.compile(r"UPDATE channels|.*FROM channels.*FOR NO KEY UPDATE( OF channels)?\s*$", re.S)


@pytest.fixture
def crm(build: Callable[..., Parts], postgres_url: str, sandbox: Sandbox) -> Crm:
    sandbox.create_channel("default", api_key="5a" * 32, limit="none")
    crm = Crm(build(postgres_url), sandbox)
    crm.channels("default")
    return crm


@pytest.fixture
def strays(crm: Crm) -> list[str]:
    """What a transaction did to channels that it had neither locked at its beginning nor leased without waiting."""
    found: list[str] = []
    held: dict[int, set[int]] = {}

    @event.listens_for(crm.parts.engine, "begin")
    def _begin(connection: Any) -> None:
        held[id(connection)] = set()

    @event.listens_for(crm.parts.engine, "before_cursor_execute")
    def _look(connection: Any, _cursor: Any, statement: str, given: Any, _context: Any, _many: bool) -> None:
        rows = given if isinstance(given, list) else [given]
        ids = {value for row in rows for name, value in row.items() if name.startswith(("id", "_id"))}
        if "SKIP LOCKED" in statement:
            return
        if _FIRST.match(statement) or _LEASES.match(statement):
            held[id(connection)] |= ids
        elif _TOUCHES.match(statement) and not ids <= held[id(connection)]:
            found.append(f"{statement[:80]} of {ids - held[id(connection)]}, holding {held[id(connection)]}")

    return found


def test_a_turn_touches_no_channel_that_it_did_not_lock_at_its_beginning(
    crm: Crm, sandbox: Sandbox, strays: list[str]
) -> None:
    """What is on its way makes its channel ready for the next message at any moment, also in the middle of a turn."""
    names = [f"channel-{index}" for index in range(8)]
    crm.channels(*names, pace="100/1")
    sandbox.latency(before="0.005-0.03", after="0.005-0.03")
    for name in names:
        crm.enqueue([f"{name} {index}" for index in range(30)], channel=name)
    drain(crm.parts)
    assert len(crm.texts()) == 240
    assert strays == []
    assert {crm.channel(name).lease_token for name in names} == {None}


def test_checks_that_are_given_back_wait_for_nobody_and_leave_alone_what_is_locked(crm: Crm) -> None:
    crm.enqueue(["one", "two"])
    drain(crm.parts)
    now = crm.parts.clock()
    later = {row.seq: row.next_check_at for row in crm.messages()}
    with transaction(crm.parts.engine) as learning:
        learning.execute(select(Message.seq).where(Message.seq == 1).with_for_update(key_share=True))

        def give_back() -> None:
            with transaction(crm.parts.engine) as connection:
                give_back_checks(connection, [2, 1], now=now)

        thread = threading.Thread(target=give_back)
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), "it waits for a message although it holds another one"
    assert {row.seq: row.next_check_at for row in crm.messages()} == {1: later[1], 2: now}


def test_who_refers_to_a_message_does_not_wait_for_who_learns_about_it(
    crm: Crm, build: Callable[..., Parts], postgres_url: str
) -> None:
    """A foreign key's lock, as callbacks take it for many messages at once, stands in nobody's way."""
    crm.enqueue(["one"])
    referring = select(Message.seq).where(Message.seq == 1).with_for_update(read=True, key_share=True, nowait=True)
    seen: list[int] = []

    @event.listens_for(crm.parts.engine, "after_cursor_execute")
    def _refer(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM messages" in statement and statement.rstrip().endswith(("FOR UPDATE", "FOR NO KEY UPDATE")):
            with transaction(other.engine) as connection:
                seen.extend(connection.execute(referring).scalars())

    other = build(postgres_url)
    drain(crm.parts)
    assert seen, "nothing locked a message"
    assert set(seen) == {1}
