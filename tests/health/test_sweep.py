"""The sweep finds what a lost worker, a lost wake-up or the time left behind."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.drain.scene import Crm, drain
from worker.channels import leases
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack
from worker.domain.webhook_fact import TickSeen
from worker.hearing import hear_webhooks
from worker.outbox import webhook_facts
from worker.outbox.claims import claim_next
from worker.parts import Parts
from worker.sweep import sweep


@pytest.fixture
def crm(crm: Crm) -> Crm:
    crm.set_channel("default", state=ChannelState.UP)
    return crm


def lose_a_worker(crm: Crm, *, lease_s: float) -> None:
    """One message is claimed by a worker that is never seen again."""
    now = crm.parts.clock()
    lease = leases.Lease(token="d" * 32, holder="lost:1", until=now + timedelta(seconds=lease_s))
    with transaction(crm.parts.engine) as connection:
        rows = leases.take_waiting(connection, lease, now=now, horizon=now, most=10)
        assert len(claim_next(connection, [row.id for row in rows], lease.token, now=now).claims) == 1


def at_once(*workers: Parts) -> None:
    threads = [threading.Thread(target=sweep, args=[parts]) for parts in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_what_a_lost_worker_was_sending_is_in_doubt_once_its_lease_is_over(
    crm: Crm, parts: Parts, build: Callable[..., Parts], database_url: str
) -> None:
    crm.enqueue(["one"])
    lose_a_worker(crm, lease_s=60)
    assert sweep(parts).doubted == 0
    assert crm.states() == ["sending"]
    crm.set_channel("default", lease_expires_at=parts.clock())

    at_once(parts, build(database_url), build(database_url))

    assert crm.states() == ["in_doubt"]
    assert Counter(crm.moves())[("sending", "in_doubt")] == 1
    (attempt,) = crm.attempts()
    assert (attempt.cause, attempt.worker) == ("worker_lost", "lost:1")


def test_an_expired_message_is_told_once_and_never_sent(
    crm: Crm, parts: Parts, build: Callable[..., Parts], database_url: str
) -> None:
    crm.enqueue(["too late", "in time"], expires_at="2099-01-01T00:00:00Z")
    with transaction(parts.engine) as connection:
        connection.execute(text("UPDATE messages SET expires_at = '2001-01-01 00:00:00' WHERE seq = 1"))

    at_once(parts, build(database_url))
    drain(parts)

    assert crm.states() == ["expired", "accepted"]
    assert Counter(crm.moves())[("queued", "expired")] == 1
    assert crm.texts() == ["in time"]


def test_due_work_without_a_wake_up_is_found(crm: Crm, parts: Parts) -> None:
    crm.enqueue(["one"])
    assert sweep(parts).wake_drain
    drain(parts)
    assert not sweep(parts).wake_drain


def test_what_a_webhook_said_is_found_when_its_wake_up_was_lost(crm: Crm, parts: Parts) -> None:
    said = TickSeen(whatsapp_key_id="3EB0", whatsapp_jid="917033009600@s.whatsapp.net", ack=Ack.SERVER)
    assert not sweep(parts).wake_hearing
    with transaction(parts.engine) as connection:
        webhook_facts.store(connection, crm.channel().id, [said], parts.clock())

    assert sweep(parts).wake_hearing
    hear_webhooks(parts)
    assert not sweep(parts).wake_hearing, "nobody knows the message yet, so the fact is put away for a while"


def test_work_that_cannot_go_out_now_wakes_nobody(crm: Crm, parts: Parts) -> None:
    crm.enqueue(["one"])
    crm.set_channel("default", state=ChannelState.DOWN)
    assert not sweep(parts).wake_drain
    crm.set_channel("default", state=ChannelState.UP, next_slot_at=parts.clock() + timedelta(hours=1))
    assert not sweep(parts).wake_drain
    crm.set_channel("default", next_slot_at=parts.clock(), lease_token="a" * 32)
    crm.set_channel("default", lease_expires_at=parts.clock() + timedelta(seconds=10))
    assert not sweep(parts).wake_drain, "a run that serves the channel is not trusted"


def test_a_channel_whose_worker_was_lost_goes_on_with_its_other_messages(crm: Crm, parts: Parts) -> None:
    crm.enqueue(["one", "two"])
    lose_a_worker(crm, lease_s=0)
    swept = sweep(parts)
    assert (swept.doubted, swept.wake_drain) == (1, True)
    drain(parts)
    assert crm.texts() == ["two"]
    assert crm.states() == ["in_doubt", "accepted"]
