"""Every way in which a message ends, or goes on after its end, is told to the CRM."""

from datetime import timedelta
from uuid import UUID

import pytest

from tests.callbacks.office import DELIVERED, Office
from tests.callbacks.receiver import Heard, Receiver
from worker.domain.outcomes import Cause
from worker.outbox import people

TO = "+917033009600"


@pytest.fixture
def office(office: Office, receiver: Receiver) -> Office:
    office.add(receiver.url)
    return office


def message_id(office: Office, seq: int) -> UUID:
    found: UUID = office.desk.message(seq).id
    return found


def told(office: Office, receiver: Receiver) -> list[Heard]:
    """What this look told."""
    before = len(receiver.heard)
    office.tell()
    return list(receiver.heard[before:])


def refused(office: Office) -> int:
    """A message that WaSender refused for good when it was posted."""
    seq = office.desk.enqueue(office.channel, TO)
    office.desk.finish(office.desk.leased_claim(office.channel), Cause.NOT_ON_WHATSAPP)
    return seq


def test_a_message_whose_time_ran_out_is_told_as_expired(office: Office, receiver: Receiver) -> None:
    expires = (office.desk.now + timedelta(seconds=5)).isoformat()
    seq = office.desk.enqueue(office.channel, TO, expires_at=expires)
    assert told(office, receiver) == []
    office.wait(seconds=6)
    assert office.desk.expire() == 1

    [heard] = told(office, receiver)

    assert (heard.message, heard.status) == (str(message_id(office, seq)), "expired")
    assert heard.data["change"]["previous"] == "pending"


def test_a_message_that_was_withdrawn_is_told_as_cancelled(office: Office, receiver: Receiver) -> None:
    seq = office.desk.enqueue(office.channel, TO)
    office.desk.write(lambda c: people.cancel(c, message_id(office, seq), now=office.desk.now))

    [heard] = told(office, receiver)

    assert (heard.message, heard.status) == (str(message_id(office, seq)), "cancelled")
    assert heard.data["change"]["previous"] == "pending"


def test_a_message_that_wasender_refused_is_told_as_failed_with_the_reason(
    office: Office, receiver: Receiver
) -> None:
    refused(office)

    [heard] = told(office, receiver)

    assert (heard.status, heard.data["change"]["previous"]) == ("failed", "pending")
    assert heard.data["error"]["code"] == "not_on_whatsapp"
    assert heard.data["attempts"] == 1


def test_a_failed_message_that_a_person_sends_again_is_told_as_pending(office: Office, receiver: Receiver) -> None:
    seq = refused(office)
    told(office, receiver)
    office.desk.write(lambda c: people.resend(c, message_id(office, seq), now=office.desk.now))

    [heard] = told(office, receiver)

    assert (heard.status, heard.data["change"]["previous"]) == ("pending", "failed")
    assert heard.data["error"] is None


def test_a_tick_that_comes_after_the_failure_is_told_over_it(office: Office, receiver: Receiver) -> None:
    desk = office.desk
    seq = desk.enqueue(office.channel, TO)
    desk.finish(desk.leased_claim(office.channel), Cause.TIMEOUT)
    desk.hold(seq, "in_doubt")
    desk.write(lambda c: people.cancel(c, message_id(office, seq), now=desk.now))
    desk.tick(seq, DELIVERED)

    first, second = told(office, receiver)

    assert (first.status, second.status) == ("failed", "delivered")
    assert second.data["change"]["previous"] == "failed"
    assert second.data["error"] is None
