"""Answers about numbers are believed for a while, and no more is asked than WaSender allows, however many ask."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from tests.outbox.desk import ALICE, BOB, NOON, Desk
from worker.domain.pace import Pace
from worker.outbox import known_numbers

WORKERS = 8


def learn(desk: Desk, recipient: str, on_whatsapp: bool) -> None:
    desk.write(lambda c: known_numbers.learn(c, recipient, on_whatsapp, at=desk.now))


def known(desk: Desk, recipient: str) -> bool | None:
    answer: bool | None = desk.write(lambda c: known_numbers.known(c, recipient, now=desk.now))
    return answer


def may_ask(desk: Desk, channel_id: int) -> bool:
    allowed: bool = desk.write(lambda c: known_numbers.may_ask(c, channel_id, now=desk.now))
    return allowed


def asked_within(desk: Desk, channel_id: int, seconds: int, *, step_s: float = 0.35) -> int:
    """How many questions are allowed to somebody who would always like to ask."""

    def ask_on(connection: Connection) -> int:
        asked, began = 0, desk.now
        while desk.now - began < timedelta(seconds=seconds):
            asked += known_numbers.may_ask(connection, channel_id, now=desk.now)
            desk.wait(step_s)
        return asked

    count: int = desk.write(ask_on)
    return count


def test_a_yes_holds_for_a_week_and_a_no_for_a_day(desk: Desk) -> None:
    learn(desk, ALICE, True)
    learn(desk, BOB, False)
    assert (known(desk, ALICE), known(desk, BOB), known(desk, "+15550100")) == (True, False, None)

    desk.wait(24 * 3600)
    assert (known(desk, ALICE), known(desk, BOB)) == (True, None)
    desk.wait(6 * 24 * 3600)
    assert known(desk, ALICE) is None


def test_the_latest_answer_counts_whatever_the_order_in_which_answers_come(desk: Desk) -> None:
    learn(desk, ALICE, False)
    desk.wait(60)
    learn(desk, ALICE, True)
    desk.now -= timedelta(seconds=30)
    learn(desk, ALICE, False)
    assert known(desk, ALICE) is True


@pytest.mark.parametrize(
    ("pace", "cap", "a_minute"), [(Pace(1, 5), None, 60), (Pace(1, 60), None, 10), (Pace(1, 5), 50, 10)]
)
def test_a_minutes_limit_is_used_and_never_passed(desk: Desk, pace: Pace, cap: int | None, a_minute: int) -> None:
    channel_id = desk.channel(pace=pace)
    desk.set_channel(channel_id, daily_cap=cap)
    assert a_minute * 0.75 <= asked_within(desk, channel_id, 60) <= a_minute


@pytest.mark.parametrize(("pace", "a_day"), [(Pace(1, 5), 1000), (Pace(1, 60), 100)])
def test_a_days_limit_holds_until_midnight_utc(desk: Desk, pace: Pace, a_day: int) -> None:
    channel_id = desk.channel(pace=pace)
    desk.set_channel(channel_id, number_checks_on=NOON.date(), number_checks_that_day=a_day - 1)

    assert may_ask(desk, channel_id)
    desk.wait(3600)
    assert not may_ask(desk, channel_id)
    desk.now = datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)
    assert may_ask(desk, channel_id)
    assert desk.channel_row(channel_id).number_checks_that_day == 1

    desk.now -= timedelta(seconds=10)  # a clock that is set back does not give the former day once more
    assert not may_ask(desk, channel_id)
    assert desk.channel_row(channel_id).number_checks_on == datetime(2026, 11, 23, tzinfo=UTC).date()


def test_workers_who_ask_at_once_share_one_question(desk: Desk) -> None:
    channel_id = desk.channel()
    with ThreadPoolExecutor(WORKERS) as workers:
        allowed = list(workers.map(lambda _: may_ask(desk, channel_id), range(WORKERS)))
    assert sum(allowed) == 1
    assert desk.channel_row(channel_id).number_checks_that_day == 1


def test_each_channel_has_questions_of_its_own_and_one_that_was_told_to_wait_waits(desk: Desk) -> None:
    told, other = desk.channel(), desk.channel("other")
    desk.write(lambda c: known_numbers.ask_no_more(c, told, until=desk.now + timedelta(seconds=30)))
    desk.write(lambda c: known_numbers.ask_no_more(c, told, until=desk.now + timedelta(seconds=5)))

    assert not may_ask(desk, told)
    assert may_ask(desk, other)
    desk.wait(29)
    assert not may_ask(desk, told)
    desk.wait(1)
    assert may_ask(desk, told)
