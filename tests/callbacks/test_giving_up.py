"""What an endpoint does not take for a day is parked, and can be told again; what is long past is forgotten."""

from datetime import timedelta
from itertools import pairwise

from structlog.testing import capture_logs

from tests.callbacks.office import DELIVERED, READ, SENT, Office
from tests.callbacks.receiver import OK, Receiver, answering
from worker.maintenance import maintain

REFUSING = answering(500)


def test_a_day_of_retries_then_it_is_parked_told_and_can_be_replayed(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    receiver.behave = lambda _: REFUSING
    message = office.message(SENT, DELIVERED)
    began, calls = office.desk.now, []
    with capture_logs() as logs:
        while office.states() != ["parked", "parked"]:
            before = len(receiver.heard)
            office.tell()
            calls += [office.desk.now - began] * (len(receiver.heard) - before)
            due = [row.due_at for row in office.callbacks() if row.state == "waiting"]
            office.desk.now = max([office.endpoint().next_try_at, *due[:1], office.desk.now + timedelta(seconds=1)])
            assert len(calls) < 100

    pauses = [round((after - before).total_seconds()) for before, after in pairwise(calls)]
    assert pauses[:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    assert set(pauses[12:-1]) == {3600}
    assert calls[-1] == timedelta(days=1)
    assert {heard.status for heard in receiver.heard} == {"sent"}
    [error] = [line for line in logs if line["log_level"] == "error"]
    assert (error["event"], error["endpoint"], error["count"]) == ("callbacks_parked", "crm", 2)
    assert "truetick callbacks replay crm" in error["advice"]

    # What happens to the message from then on follows what is parked.
    office.tick(message, READ)
    office.tell()
    assert office.states() == ["parked"] * 3

    receiver.behave = lambda _: OK
    assert office.replay() == 3
    office.tell()

    assert receiver.statuses(message) == ["sent", "delivered", "read"]
    assert office.states() == ["delivered"] * 3


def test_what_is_late_because_nobody_tried_is_told_and_not_parked(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    receiver.down()
    messages = [office.message(SENT) for _ in range(5)]
    for _ in range(4):
        office.tell()
        office.wait(seconds=5)
    receiver.up()
    office.wait(days=3)  # no worker ran

    office.tell()

    assert [receiver.statuses(message) for message in messages] == [["sent"]] * 5


def test_what_waits_at_a_dead_endpoint_is_parked_after_a_day_although_few_of_it_were_tried(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    receiver.down()
    office.many_changes(40)
    office.tell()
    office.wait(days=1, seconds=1)

    office.tell()

    assert office.states() == ["parked"] * 40
    assert len([row for row in office.callbacks() if row.tries]) <= 10


def test_a_replay_since_a_moment_takes_whole_messages(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    receiver.behave = lambda _: answering(410)
    old = office.message(SENT)
    both = office.message(SENT)
    office.tell()
    office.wait(hours=1)
    since = office.desk.now
    office.tick(both, DELIVERED)
    office.tell()
    assert office.states() == ["parked"] * 3
    receiver.behave = lambda _: OK

    assert office.replay(since=since, most=1) == 2
    office.tell()

    assert receiver.statuses(both) == ["sent", "delivered"]
    assert receiver.statuses(old) == []


def test_410_parks_the_callback_with_what_follows_it_and_marks_the_endpoint(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    receiver.behave = lambda heard: answering(410) if heard.message == gone else OK
    gone, fine = office.message(SENT, DELIVERED), ""

    office.tell()

    assert office.states() == ["parked", "parked"]
    assert [heard.status for heard in receiver.heard] == ["sent"]
    assert "410" in (office.endpoint().problem or "")
    fine = office.message(SENT)
    office.tell()
    assert receiver.statuses(fine) == ["sent"]


def test_what_was_delivered_a_week_ago_is_forgotten(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    office.message(SENT)
    office.tell()
    office.wait(days=6)
    office.message(SENT)
    office.tell()
    office.wait(days=2)
    office.teller = type(office.teller)()

    office.tell()

    assert len(office.callbacks()) == 1


def test_what_was_given_up_is_kept_for_three_months(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    receiver.behave = lambda _: REFUSING
    office.message(SENT)
    office.tell()
    office.wait(days=2)
    office.tell()
    assert office.states() == ["parked"]

    office.wait(days=88)
    assert maintain(office.parts).callbacks == 0
    office.wait(days=2)
    assert maintain(office.parts).callbacks == 1
    assert office.callbacks() == []
