"""A CRM that is down, slow or answers nonsense loses nothing, and harms nobody else."""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import cycle

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from tests.callbacks.office import DELIVERED, READ, SENT, Office
from tests.callbacks.receiver import OK, Behaviour, Heard, Receiver, answering, babbling, resetting
from tests.outbox.desk import NOON
from tests.real_servers import wait_until
from worker.callbacks import endpoints
from worker.callbacks.breaker import Standing, Verdict
from worker.models import Callback, Endpoint

REFUSING = answering(500)
START = NOON


@pytest.mark.parametrize(
    "trouble",
    [REFUSING, resetting, babbling, answering(302, Location="/"), answering(200, b"<html>"), answering(429)],
    ids=["500", "reset", "nonsense", "redirect", "page", "429"],
)
def test_what_is_not_taken_is_told_again_with_the_same_id_and_in_its_order(
    office: Office, receiver: Receiver, trouble: Behaviour
) -> None:
    office.add(receiver.url)
    answers = cycle([trouble, OK])
    receiver.behave = lambda _: next(answers)
    message = office.message(SENT, DELIVERED)

    for _ in range(3):
        office.tell()
        office.wait(seconds=2)

    assert receiver.statuses(message) == ["sent", "delivered"]
    assert [heard.status for heard in receiver.heard] == ["sent", "sent", "delivered", "delivered"]
    assert len({heard.id for heard in receiver.heard}) == 2
    assert office.states() == ["delivered", "delivered"]
    assert [row.tries for row in office.callbacks()] == [2, 2]


def test_an_endpoint_that_is_down_gets_everything_once_it_is_up(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    receiver.down()
    messages = [office.message(SENT, DELIVERED, READ) for _ in range(5)]
    for _ in range(8):
        office.tell()
        office.wait(minutes=30)
    assert office.states() == ["waiting"] * 15
    assert "took no connection" in (office.endpoint().problem or "")

    receiver.up()
    office.tell()

    assert [receiver.statuses(message) for message in messages] == [["sent", "delivered", "read"]] * 5
    assert (office.endpoint().failures, office.endpoint().problem) == (0, None)


def test_after_three_failures_in_a_row_one_call_at_a_time_finds_out(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    receiver.behave = lambda _: REFUSING
    for _ in range(20):
        office.message(SENT)
    with capture_logs() as logs:
        office.tell()
        first = len(receiver.heard)
        assert 3 <= first <= 8 + 2  # those that were under way together
        for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
            office.wait(seconds=pause_s - 0.5)
            office.tell()
            assert len(receiver.heard) == first, "it was called too early"
            office.wait(seconds=0.5)
            office.tell()
            first += 1
            assert len(receiver.heard) == first, "more than one call found out"
        receiver.behave = lambda _: OK
        office.wait(seconds=60)
        office.tell()

    assert office.states() == ["delivered"] * 20
    told = [line["event"] for line in logs if line["event"].startswith("endpoint_")]
    assert told == ["endpoint_in_trouble", "endpoint_recovered"]


@pytest.mark.timed
def test_one_bad_endpoint_delays_no_other_nor_whoever_looks(
    office: Office, receivers: Callable[..., Receiver]
) -> None:
    bad, good = receivers(), receivers()
    bad.gate.clear()
    bad.behave = lambda _: bad.hanging
    office.add(bad.url, "a-bad-one")
    office.add(good.url, "good")
    try:
        for _ in range(3):
            message = office.message(SENT)
            began = time.monotonic()
            office.look()
            looked_s = time.monotonic() - began
            wait_until(lambda sent=message: good.statuses(sent) == ["sent"], within_s=3, what="the good one's")
            assert looked_s < 2
        assert len(bad.heard) >= 1
    finally:
        bad.gate.set()
    assert office.teller.until_idle(20)


def test_a_message_that_is_refused_again_and_again_holds_up_no_other(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    poison = office.message(SENT, DELIVERED)
    receiver.behave = lambda heard: REFUSING if heard.message == poison else OK
    for _ in range(6):
        message = office.message(SENT, DELIVERED)
        office.tell()
        office.wait(seconds=10)
        assert receiver.statuses(message) == ["sent", "delivered"]
    assert {heard.status for heard in receiver.heard if heard.message == poison} == {"sent"}
    assert office.states()[:2] == ["waiting", "waiting"]


def test_an_endpoint_that_refuses_most_messages_still_takes_the_others_soon(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    refused = {office.message(SENT) for _ in range(12)}
    receiver.behave = lambda heard: answering(404) if heard.message in refused else OK
    for _ in range(3):
        office.tell()
        office.wait(minutes=2)
    mine = [office.message(SENT, DELIVERED) for _ in range(3)]

    for _ in range(10):
        office.tell()
        office.wait(seconds=2)

    assert [receiver.statuses(message) for message in mine] == [["sent", "delivered"]] * 3


def test_retry_after_is_heeded_by_the_whole_endpoint_but_no_longer_than_an_hour(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    receiver.behave = lambda _: answering(503, b"", Retry_After="99999")
    office.message(SENT)
    office.tell()
    office.message(SENT)
    receiver.behave = lambda _: OK

    office.wait(minutes=59)
    office.tell()
    assert len(receiver.heard) == 1
    office.wait(minutes=2)
    office.tell()

    assert office.states() == ["delivered", "delivered"]


def test_a_run_that_was_lost_in_the_middle_is_followed_by_one_that_tells_again(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    message = office.message(SENT)

    def lose_the_run(_: Heard) -> Behaviour:
        values = {"lease_token": "of another worker", "lease_expires_at": office.desk.now + timedelta(minutes=1)}
        office.desk.write(lambda c: c.execute(update(Endpoint).values(**values)))
        receiver.behave = lambda _: OK
        return OK

    receiver.behave = lose_the_run
    office.tell()
    assert office.states() == ["waiting"]
    office.tell()
    assert len(receiver.heard) == 1, "the other worker's lease was not heeded"
    office.wait(minutes=2)

    office.tell()

    assert receiver.statuses(message) == ["sent", "sent"]
    assert len({heard.id for heard in receiver.heard}) == 1
    assert office.states() == ["delivered"]


def test_an_endpoint_can_be_removed_while_it_is_being_told(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    receiver.gate.clear()
    receiver.behave = lambda _: receiver.hanging
    for _ in range(10):
        office.message(SENT)
    office.look()
    wait_until(lambda: receiver.heard, within_s=5, what="the first call")
    endpoint_id = office.endpoint().id

    def remove(connection: object) -> None:
        assert endpoints.lock(connection, endpoint_id) is not None  # type: ignore[arg-type]
        endpoints.remove(connection, endpoint_id)  # type: ignore[arg-type]

    office.desk.write(remove)
    receiver.gate.set()

    assert office.teller.until_idle(20)
    assert office.desk.read(Callback.__table__.select()) == []


@pytest.mark.parametrize("seed", range(3))
def test_in_a_storm_each_change_arrives_and_none_overtakes_another_of_its_message(
    office: Office, receiver: Receiver, seed: int
) -> None:
    chance = random.Random(seed)
    kinds = [OK, OK, OK, REFUSING, resetting, babbling, answering(200, b"<html>"), answering(429, Retry_After="3")]
    receiver.behave = lambda _: chance.choice(kinds)
    office.add(receiver.url)
    messages = [office.message(SENT) for _ in range(6)]
    for ack in (DELIVERED, READ):
        for message in chance.sample(messages, 6):
            office.tick(message, ack)
            if chance.random() < 0.4:
                office.tell()
                office.wait(seconds=chance.choice([0, 1, 5, 60]))
    for _ in range(60):
        if set(office.states()) == {"delivered"}:
            break
        office.tell()
        office.wait(minutes=10)

    assert set(office.states()) == {"delivered"}
    wanted = ["sent", "delivered", "read"]
    called = defaultdict(list)
    for heard in receiver.heard:
        called[heard.message].append(heard.status)
    for message in messages:
        # Told again at most what was not taken; nothing is called before what comes before it was taken.
        assert receiver.statuses(message) == wanted
        assert called[message] == sorted(called[message], key=wanted.index)
    assert receiver.unverified == 0


def test_a_database_that_goes_away_while_telling_ends_the_run_and_nothing_else(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    message = office.message(SENT)
    with lost_table(office) as lose:
        receiver.behave = lambda _: lose() or OK
        with capture_logs() as logs:
            office.tell()
    assert [line["log_level"] for line in logs if line["event"].startswith("database_")] == ["warning"]
    receiver.behave = lambda _: OK
    office.wait(minutes=2)

    office.tell()

    assert receiver.statuses(message) == ["sent", "sent"]


@contextmanager
def lost_table(office: Office) -> Iterator[Callable[[], None]]:
    """A database that refuses what a run writes next."""

    def rename(before: str, after: str) -> None:
        office.desk.write(lambda c: c.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}"))

    try:
        yield lambda: rename("callbacks", "gone")
    finally:
        rename("gone", "callbacks")


def test_failures_that_began_together_count_as_one_trouble() -> None:
    standing = Standing(failures=2, next_try_at=START, last_success_at=None, problem=None)
    for _ in range(8):
        standing = standing.after(Verdict(problem="It failed."), START, was_probe=False)
    assert standing.failures == 3
    assert standing.next_try_at == START + timedelta(seconds=1)
