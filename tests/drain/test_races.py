"""Several workers, threads and wake-ups at once: nothing twice, nothing left lying."""

import threading
from collections import Counter
from collections.abc import Callable

from sqlalchemy import select

from tests.drain.scene import Crm, drain, number, overlaps, until_accepted, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker.channels import leases
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.drain import Drainer
from worker.models import Channel
from worker.parts import Parts


def test_two_workers_never_send_a_message_twice(
    crm: Crm, parts: Parts, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    names = [f"channel-{index}" for index in range(6)]
    crm.channels(*names, pace="30/1")
    for name in names:
        crm.enqueue([f"{name} {index}" for index in range(35)], channel=name, to=lambda index: number(index % 9))
    other = build(database_url, TRUETICK_DRAIN_RUN_S=0.3)
    third = build(database_url, TRUETICK_DRAIN_RUN_S=0.3)
    with working(other, third) as wake:
        wake()
        until_accepted(sandbox, 210, within_s=20)

    copies = Counter(entry.text for entry in sandbox.ledger())
    assert len(copies) == 210
    assert set(copies.values()) == {1}
    assert overlaps(sandbox) == []
    assert set(crm.states()) == {"accepted"}
    for name in names:
        assert crm.channel(name).lease_token is None


def test_messages_committed_while_runs_give_their_channel_back_need_no_sweep(
    crm: Crm, parts: Parts, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.channels("one", "two", pace="1000/1")
    enqueuers = 3

    def enqueue(own: int) -> None:
        from_outside = Crm(build(database_url), sandbox)
        for index in range(40):
            name = ("one", "two")[index % 2]
            from_outside.enqueue([f"{own} {index}"], channel=name, to=lambda _, n=own * 100 + index: number(n))
            with transaction(from_outside.parts.engine) as connection:
                channel_id = connection.execute(select(Channel.id).where(Channel.name == name)).scalar_one()
                needed = leases.needs_wake(connection, channel_id, from_outside.parts.clock())
            if needed:
                wake()

    with working(parts) as wake:
        threads = [threading.Thread(target=enqueue, args=[own]) for own in range(enqueuers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until_accepted(sandbox, 40 * enqueuers, within_s=10)

    assert max(Counter(entry.text for entry in sandbox.ledger()).values()) == 1


def test_a_run_finds_the_channel_that_was_locked_while_it_looked(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    crm.enqueue(["hello"])
    if parts.engine.dialect.name == "sqlite":  # locks the whole database: the run waits
        drain(parts)
    else:
        with transaction(parts.engine) as connection:
            connection.execute(select(Channel.id).with_for_update())
            run = threading.Thread(target=drain, args=[parts])
            run.start()
            run.join(0.3)
            assert run.is_alive(), "the run went away although a message is due"
        run.join(5)
    assert crm.texts() == ["hello"]


def test_a_crm_that_has_not_yet_committed_does_not_stop_its_channel(
    crm: Crm, parts: Parts, build: Callable[..., Parts], database_url: str
) -> None:
    if parts.engine.dialect.name == "sqlite":
        return  # one writer at a time
    crm.enqueue(["hello"])
    uncommitted = Crm(build(database_url), crm.sandbox)
    began, may_commit = threading.Event(), threading.Event()

    def to(index: int) -> str:
        if index == 1:
            began.set()
            assert may_commit.wait(10)
        return number(index)

    slow = threading.Thread(target=uncommitted.enqueue, args=[["first", "second"]], kwargs={"to": to})
    slow.start()
    assert began.wait(5)
    try:
        drain(parts)
        assert crm.texts() == ["hello"]
    finally:
        may_commit.set()
        slow.join()


def test_nothing_due_ends_the_run_at_once_and_wakes_nobody(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    crm.enqueue(["tomorrow"], send_after="2099-01-01T00:00:00Z")
    crm.channels("down", state=ChannelState.DOWN)
    crm.enqueue(["waits"], channel="down")

    drainer, wakes = Drainer(), Counter[str]()
    wait_until(lambda: drainer.drain(parts, lambda: wakes.update(["wake"])) is None, within_s=1, what="its end")

    assert not wakes
    assert sandbox.requests() == []


def test_sending_everything_wakes_nobody_afterwards(crm: Crm, parts: Parts) -> None:
    crm.enqueue([f"{index}" for index in range(20)])
    assert drain(parts) == 0
    assert set(crm.states()) == {"accepted"}


def test_a_message_whose_time_ran_out_does_not_keep_runs_busy(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    crm.enqueue(["too late"], expires_at="2099-01-01T00:00:00Z")
    with transaction(parts.engine) as connection:
        connection.exec_driver_sql("UPDATE messages SET expires_at = '2001-01-01 00:00:00'")

    assert drain(parts) == 0
    assert sandbox.requests() == []
    assert crm.channel().lease_token is None
