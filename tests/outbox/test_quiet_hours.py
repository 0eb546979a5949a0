"""Quiet hours at the claim: what must wait is moved to the morning, and nothing else waits with it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, update

from tests.outbox.desk import ALICE, BOB, CAROL, Desk
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause
from worker.domain.quiet_hours import QuietHours
from worker.models import Message
from worker.outbox import holding, people, reading
from worker.outbox.claims import MOST_LOOKS
from worker.outbox.enqueue import Defaults

INDIA = ZoneInfo("Asia/Kolkata")
#: The desk's own beginning, noon in UTC, is 17:30 in India.
EVENING = datetime(2026, 11, 22, 21, 30, tzinfo=INDIA).astimezone(UTC)
MORNING = datetime(2026, 11, 23, 9, 0, tzinfo=INDIA).astimezone(UTC)
NEW_YORKER = "+12125551234"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.defaults = Defaults(region="IN", on_doubt="hold", quiet_hours_for="bulk")
    desk.quiet_hours = QuietHours.parse("21:00-09:00")
    desk.now = EVENING
    return desk


def bulk(desk: Desk, channel_id: int, to: str = ALICE, **request: Any) -> int:
    return desk.enqueue(channel_id, to, **({"priority": "bulk"} | request))


def sent_now(desk: Desk, channel_id: int) -> list[int]:
    """What goes out at this time, in its order."""
    desk.lease()
    order = []
    while claims := desk.claim([channel_id]).claims:
        order.append(claims[0].seq)
        desk.finish(claims[0], Cause.ACCEPTED, gateway_msg_id=claims[0].seq)
    return order


def test_bulk_waits_for_the_morning_while_transactional_messages_pass(desk: Desk) -> None:
    channel_id = desk.channel()
    waiting = [bulk(desk, channel_id, to) for to in (ALICE, BOB, ALICE)]
    urgent = desk.enqueue(channel_id, ALICE)

    assert sent_now(desk, channel_id) == [urgent]
    assert {desk.message(seq).due_at for seq in waiting} == {MORNING}
    assert {desk.message(seq).held_by for seq in waiting} == {"quiet_hours"}
    desk.now = MORNING - timedelta(seconds=1)
    assert sent_now(desk, channel_id) == []

    desk.now = MORNING
    assert sent_now(desk, channel_id) == waiting


def test_what_comes_in_the_night_goes_out_behind_what_waits_already(desk: Desk) -> None:
    channel_id = desk.channel()
    first = [bulk(desk, channel_id, to) for to in (ALICE, BOB)]
    assert sent_now(desk, channel_id) == []
    desk.wait(3 * 3600)
    later = [bulk(desk, channel_id, to) for to in (CAROL, ALICE)]
    assert sent_now(desk, channel_id) == []

    desk.now = MORNING
    assert sent_now(desk, channel_id) == first + later


def test_each_recipient_has_a_night_of_their_own(desk: Desk) -> None:
    """At half past nine in the evening in India it is eleven in the morning in New York."""
    channel_id = desk.channel()
    in_india, in_new_york = bulk(desk, channel_id), bulk(desk, channel_id, NEW_YORKER)
    assert sent_now(desk, channel_id) == [in_new_york]

    desk.now = MORNING  # and late in the evening in New York
    too_late = bulk(desk, channel_id, NEW_YORKER)
    assert sent_now(desk, channel_id) == [in_india]
    assert desk.message(too_late).due_at == datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


def test_a_crowd_that_sleeps_keeps_nobody_from_being_written_to(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one look can hold; the bound holds for each turn."""
    monkeypatch.setattr(holding, "_DUE", holding._DUE.limit(3))
    channel_id = desk.channel()
    asleep = [bulk(desk, channel_id, f"+9170330{index:05d}") for index in range(3 * MOST_LOOKS + 2)]
    awake = bulk(desk, channel_id, NEW_YORKER)
    desk.lease()

    assert desk.claim([channel_id]).claims == ()
    assert sum(desk.message(seq).held_by is not None for seq in asleep) == 3 * MOST_LOOKS
    assert sent_now(desk, channel_id) == [awake]
    assert {desk.message(seq).due_at for seq in asleep} == {MORNING}
    desk.now = MORNING
    assert sent_now(desk, channel_id) == asleep


@pytest.mark.parametrize(
    ("for_whom", "request_options", "waits"),
    [
        ("bulk", {"priority": "bulk"}, True),
        ("bulk", {"priority": "transactional"}, False),
        ("bulk", {"priority": "transactional", "quiet_hours": True}, True),
        ("bulk", {"priority": "bulk", "quiet_hours": False}, False),
        ("all", {"priority": "transactional"}, True),
        ("all", {"priority": "transactional", "quiet_hours": False}, False),
        (None, {"priority": "bulk"}, False),
        (None, {"priority": "transactional", "quiet_hours": True}, True),
    ],
)
def test_the_settings_say_who_heeds_quiet_hours_and_a_request_says_otherwise(
    desk: Desk, for_whom: str | None, request_options: dict[str, Any], waits: bool
) -> None:
    desk.defaults = Defaults(region="IN", on_doubt="hold", quiet_hours_for=for_whom)
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id, **request_options)
    assert sent_now(desk, channel_id) == ([] if waits else [seq])
    assert desk.message(seq).quiet_zone == ("Asia/Calcutta" if waits else None)


def test_the_two_ranks_are_held_each_for_itself(desk: Desk) -> None:
    channel_id = desk.channel()
    heeding = desk.enqueue(channel_id, ALICE, quiet_hours=True)
    in_bulk = bulk(desk, channel_id, BOB)
    assert sent_now(desk, channel_id) == []
    desk.now = MORNING
    assert sent_now(desk, channel_id) == [heeding, in_bulk]


def test_one_that_is_scheduled_for_the_night_waits_too_and_one_for_the_day_does_not(desk: Desk) -> None:
    channel_id = desk.channel()
    at_night = bulk(desk, channel_id, ALICE, send_after=(EVENING + timedelta(hours=2)).isoformat())
    at_noon = bulk(desk, channel_id, BOB, send_after=(MORNING + timedelta(hours=3)).isoformat())
    desk.wait(2 * 3600)
    assert sent_now(desk, channel_id) == []
    assert desk.message(at_night).due_at == MORNING
    assert desk.message(at_noon).held_by is None
    desk.now = MORNING
    assert sent_now(desk, channel_id) == [at_night]
    desk.wait(3 * 3600)
    assert sent_now(desk, channel_id) == [at_noon]


def test_a_message_whose_time_runs_out_in_the_night_expires_and_a_cancelled_one_is_gone(desk: Desk) -> None:
    channel_id = desk.channel()
    expiring = bulk(desk, channel_id, ALICE, expires_at=(EVENING + timedelta(hours=1)).isoformat())
    withdrawn, kept = bulk(desk, channel_id, BOB), bulk(desk, channel_id, CAROL)
    assert sent_now(desk, channel_id) == []
    desk.write(lambda c: people.cancel(c, desk.message(withdrawn).id, now=desk.now))
    desk.wait(3600)
    assert desk.expire() == 1
    desk.now = MORNING
    assert sent_now(desk, channel_id) == [kept]
    assert [desk.state(seq) for seq in (expiring, withdrawn)] == [MessageState.EXPIRED, MessageState.CANCELLED]


def test_one_that_a_person_sends_again_at_night_waits_for_the_morning(desk: Desk) -> None:
    desk.now = EVENING - timedelta(hours=1)
    channel_id = desk.channel()
    seq = bulk(desk, channel_id)
    desk.finish(desk.leased_claim(channel_id), Cause.NOT_ON_WHATSAPP)
    desk.now = EVENING
    desk.write(lambda c: people.resend(c, desk.message(seq).id, now=desk.now))
    assert sent_now(desk, channel_id) == []
    desk.now = MORNING
    desk.lease()
    assert desk.claim_one(channel_id).attempt == 2


def test_quiet_hours_that_are_no_longer_configured_hold_nothing(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = bulk(desk, channel_id)
    desk.quiet_hours = None
    assert sent_now(desk, channel_id) == [seq]


def test_what_waited_through_an_outage_is_held_anew_when_the_channel_comes_back_at_night(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = bulk(desk, channel_id)
    assert sent_now(desk, channel_id) == []
    desk.now = MORNING + timedelta(hours=12, minutes=30)
    assert sent_now(desk, channel_id) == []
    assert desk.message(seq).due_at == MORNING + timedelta(days=1)


def test_whoever_asks_is_told_of_the_recipients_own_morning(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = bulk(desk, channel_id)
    sent_now(desk, channel_id)
    view = desk.write(lambda c: reading.get(c, desk.message(seq).id, desk.now))
    assert view.pending.code == "quiet_hours"
    assert "until 09:00 there" in view.pending.sentence
    assert "2026-11-23 03:30:00 UTC" in view.pending.sentence


def test_a_run_without_such_messages_asks_the_database_nothing_more(desk: Desk) -> None:
    def statements(prepare: Callable[[int], object], name: str) -> int:
        channel_id = desk.channel(name)
        prepare(channel_id)
        desk.lease()
        seen: list[str] = []

        def note(*said: Any) -> None:
            if not said[2].startswith("BEGIN"):
                seen.append(said[2])

        event.listen(desk.engine, "before_cursor_execute", note)
        try:
            assert len(desk.claim([channel_id]).claims) == 1
        finally:
            event.remove(desk.engine, "before_cursor_execute", note)
        return len(seen)

    desk.now = EVENING - timedelta(hours=1)
    assert statements(lambda channel_id: desk.enqueue(channel_id), "plain") == 3, "heads, claim, events"
    assert statements(lambda channel_id: bulk(desk, channel_id), "heeding") > 3


def test_one_that_was_cancelled_while_it_was_looked_at_is_not_claimed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit between the look for the next one and the lock on it: here in the same transaction."""
    desk.now = EVENING - timedelta(hours=1)
    channel_id = desk.channel()
    seq = bulk(desk, channel_id)
    desk.lease()
    real = holding.sift

    def sift(connection: Any, *given: Any, **options: Any) -> Any:
        connection.execute(update(Message).where(Message.seq == seq).values(state=MessageState.CANCELLED))
        return real(connection, *given, **options)

    monkeypatch.setattr("worker.outbox.claims.sift", sift)
    assert desk.claim([channel_id]).claims == ()
    assert desk.state(seq) is MessageState.CANCELLED
