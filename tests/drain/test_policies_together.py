"""Quiet hours, strangers, schedules, expiry, cancelling, sending again and ranks together, by what WhatsApp got."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tests.drain.scene import Crm, drain, number
from wasender_sandbox.control import Sandbox
from worker import intake, opt_out
from worker.clock import Clock
from worker.database import transaction
from worker.domain.message_request import parse_request
from worker.outbox import people
from worker.outbox.events import Source
from worker.parts import Parts
from worker.sweep import sweep

INDIA = ZoneInfo("Asia/Kolkata")


class Night:
    """A CRM whose clock stands where the test wants it. Times are India's."""

    def __init__(self, crm: Crm, parts: Parts) -> None:
        self._crm = crm
        self._clock: Clock = parts.clock
        self._parts = parts
        self._ahead = timedelta(0)
        self._day = (parts.clock().astimezone(INDIA) + timedelta(days=1)).date()
        self.parts = replace(parts, clock=lambda: self._clock() + self._ahead)
        self._crm.parts = self.parts

    def at(self, hour: float, *, day: int = 0) -> datetime:
        midnight = datetime(self._day.year, self._day.month, self._day.day, tzinfo=INDIA)
        return (midnight + timedelta(days=day, hours=hour)).astimezone(UTC)

    def it_is(self, hour: float, *, day: int = 0) -> None:
        self._ahead = self.at(hour, day=day) - self._clock()

    def enqueue(self, text: str, to: int = 0, **request: Any) -> UUID:
        wanted = parse_request({"to": number(to), "text": text, "priority": "bulk"} | request)
        with transaction(self.parts.engine) as connection:
            return intake.send_request(
                self.parts,
                connection,
                wanted,
                now=self.parts.clock(),
                message_id=UUID(int=len(self._crm.messages())),
                source=Source.API,
            ).message_id

    def decide(self, work: Callable[..., Any], message_id: UUID) -> None:
        with transaction(self.parts.engine) as connection:
            work(connection, message_id, now=self.parts.clock())

    def sent(self) -> list[str]:
        """What goes out at this time, in the order of arrival at WhatsApp."""
        before = len(self._crm.texts())
        sweep(self.parts)
        drain(self.parts)
        return self._crm.texts()[before:]


@pytest.fixture
def night(crm: Crm, build: Callable[..., Parts], database_url: str) -> Night:
    night = Night(crm, build(database_url, TRUETICK_QUIET_HOURS="21:00-09:00", TRUETICK_DRAIN_RUN_S=0.3))
    night.it_is(20)
    return night


def test_one_night_with_everything_in_it(night: Night, crm: Crm, sandbox: Sandbox) -> None:
    evening = [night.enqueue("evening 1"), night.enqueue("evening 2", to=1)]
    assert night.sent() == ["evening 1", "evening 2"]
    assert len(evening) == 2

    night.it_is(22)
    night.enqueue("bulk at night 1")
    night.enqueue("code", priority="transactional")
    night.enqueue("at eight", to=1, send_after=night.at(8, day=1).isoformat())
    night.enqueue("at ten", to=1, send_after=night.at(10, day=1).isoformat())
    night.enqueue("until six", to=2, expires_at=night.at(6, day=1).isoformat())
    withdrawn = night.enqueue("withdrawn", to=3)
    night.enqueue("urgent to a sleeper", to=4, quiet_hours=False)
    assert night.sent() == ["code", "urgent to a sleeper"]

    night.it_is(23)
    night.decide(people.cancel, withdrawn)
    night.enqueue("bulk at night 2")
    assert night.sent() == []

    night.it_is(8.5, day=1)
    assert night.sent() == []
    night.it_is(9.01, day=1)
    assert night.sent() == ["bulk at night 1", "at eight", "bulk at night 2"]
    night.it_is(10.01, day=1)
    assert night.sent() == ["at ten"]
    states = {row.content["text"]: row.state.value for row in crm.messages()}
    assert (states["until six"], states["withdrawn"]) == ("expired", "cancelled")


def test_a_channel_that_comes_back_at_night_sends_only_what_may_go_out_then(night: Night, crm: Crm) -> None:
    night.it_is(18)
    night.enqueue("bulk")
    night.enqueue("code", to=1, priority="transactional")
    crm.set_channel("default", state="down")
    assert night.sent() == []
    night.it_is(23)
    crm.set_channel("default", state="up")
    assert night.sent() == ["code"]
    night.it_is(9.01, day=1)
    assert night.sent() == ["bulk"]


def test_a_person_sends_again_at_night_and_it_goes_out_in_the_morning_as_a_new_attempt(
    night: Night, crm: Crm, sandbox: Sandbox
) -> None:
    sandbox.recipients(not_on_whatsapp=[number(0)])
    refused = night.enqueue("hello")
    assert night.sent() == []
    sandbox.recipients(exists=[number(0)])
    night.it_is(22)
    night.decide(people.resend, refused)
    assert night.sent() == []
    night.it_is(9.01, day=1)
    assert night.sent() == ["hello"]
    assert [row.number for row in crm.attempts()] == [1, 2]


def test_strangers_and_sleepers_are_counted_when_they_are_written_to(night: Night, crm: Crm) -> None:
    """Two strangers a day. Days are UTC's, so a new one begins at half past five in the morning in India."""
    crm.set_channel("default", first_contact_cap=2)
    night.it_is(22)
    for index in range(4):
        night.enqueue(f"bulk {index}", to=index)
    night.enqueue("code", to=5, priority="transactional")
    assert night.sent() == ["code"]
    assert crm.channel().first_contacts_that_day == 1

    night.it_is(9.01, day=1)
    assert night.sent() == ["bulk 0", "bulk 1"]
    night.it_is(9.01, day=2)
    assert night.sent() == ["bulk 2", "bulk 3"]


def test_stop_at_night_ends_what_waits_for_the_morning(night: Night, crm: Crm) -> None:
    night.it_is(22)
    night.enqueue("bulk")
    night.enqueue("bulk to another", to=1)
    assert night.sent() == []
    assert opt_out.stop(night.parts, number(0), at=night.parts.clock(), source=Source.OPERATOR) == 1
    night.it_is(9.01, day=1)
    assert night.sent() == ["bulk to another"]
