"""Who comes after whom: per recipient, per channel, by priority, with several POSTs in flight."""

import random

from tests.drain.scene import Crm, drain, number, overlaps
from wasender_sandbox.control import Sandbox
from worker.parts import Parts


def test_each_recipient_gets_messages_in_the_order_of_arrival_though_four_are_in_flight(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.latency(before="0.05-0.3", after="0-0.05")
    rng = random.Random(7)
    recipients = [number(rng.randrange(6)) for _ in range(36)]
    crm.enqueue([f"{index:03d}" for index in range(36)], to=recipients.__getitem__)

    drain(parts)

    assert len(sandbox.ledger()) == 36
    for recipient in set(recipients):
        texts = crm.texts(recipient=recipient)
        assert texts == sorted(texts), "a message overtook another on its way to the same recipient"
    assert overlaps(sandbox) == []
    in_flight = [request.in_flight for request in sandbox.requests()]
    assert max(in_flight) in (3, 4), "latency was not hidden, or more was in flight than allowed"


def test_messages_to_one_recipient_go_one_at_a_time(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.latency(before="0.05-0.1")
    crm.enqueue([f"{index:02d}" for index in range(8)], to=lambda _: number(1))

    drain(parts)

    assert crm.texts() == [f"{index:02d}" for index in range(8)]
    assert max(request.in_flight for request in sandbox.requests()) == 1


def test_transactional_messages_go_before_bulk_ones_that_came_first(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    crm.enqueue([f"bulk {index}" for index in range(10)], priority="bulk")
    crm.enqueue([f"urgent {index}" for index in range(5)], to=lambda index: number(50 + index))

    drain(parts)

    arrived = [entry.text or "" for entry in sorted(sandbox.ledger(), key=lambda entry: entry.request_at)]
    assert arrived == [f"urgent {index}" for index in range(5)] + [f"bulk {index}" for index in range(10)]


def test_a_refused_message_keeps_its_place_before_later_ones_to_the_same_recipient(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.fault("throttled", text="first", count=1, retry_after=1)
    crm.enqueue(["first", "second", "third"], to=lambda _: number(1))

    drain(parts)

    assert crm.texts() == ["first", "second", "third"]


def test_a_message_for_later_lets_those_that_are_due_pass(crm: Crm, parts: Parts) -> None:
    crm.enqueue(["tomorrow"], send_after="2099-01-01T00:00:00Z")
    crm.enqueue(["now"])

    drain(parts)

    assert crm.texts() == ["now"]
    assert crm.states() == ["queued", "accepted"]
