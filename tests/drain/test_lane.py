"""What a lane in a run's memory learns from the attempts that end, and what it keeps of the lane before it."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from tests.outbox.desk import ALICE, NOON
from worker.domain.evidence import Connection, ConnectionReport
from worker.domain.outcomes import Cause, Outcome
from worker.domain.pace import Pace, Pacing
from worker.outbox.claims import Claim, Finished
from worker.sending.lane import ITS_OWN_FACTOR, REFUSALS_BELIEVED, Lane
from worker.sending.senders import Job

KEY = SecretStr("")
CONNECTED = ConnectionReport(connection=Connection.CONNECTED, word="connected")
ACK_TIMEOUT_S = 60.0


def lane(slowdown: float = 1.0) -> Lane:
    return Lane(
        channel_id=1,
        api_key=KEY,
        pacing=Pacing(pace=Pace(1, 5), slowdown=slowdown),
        next_slot_at=NOON,
        slot=NOON,
        failures=0,
        leased_at=NOON,
        lease_until=NOON + timedelta(seconds=15),
    )


def ends(
    one: Lane,
    cause: Cause,
    after_s: float = 0,
    *,
    report: ConnectionReport | None = None,
    retry_after_s: float | None = None,
    seq: int = 1,
    refusals: int = 0,
    http_status: int | None = None,
) -> None:
    """An attempt of the lane comes to this end."""
    at = NOON + timedelta(seconds=after_s)
    started_at = None if cause is Cause.NOT_STARTED else at
    claim = Claim(
        seq=seq,
        channel_id=1,
        recipient=ALICE,
        content={"text": "Hello"},
        attempt=1,
        claimed_at=NOON,
        refusals=refusals,
    )
    job = Job(claim=claim, api_key=KEY, not_before=at, begin_before=one.lease_until, report=report)
    job.started_at = started_at
    outcome = Outcome(cause=cause, retry_after_s=retry_after_s, http_status=http_status)
    job.finished = Finished(claim=claim, started_at=started_at, finished_at=at, outcome=outcome)
    one.in_flight.append(job)
    one.absorb(job)


def test_an_attempt_that_never_began_says_nothing_about_wasender() -> None:
    troubled = lane()
    for after_s in (1, 2, 3):
        ends(troubled, Cause.CHANNEL_DOWN, after_s, report=CONNECTED)
    before = troubled.failures, troubled.refused_since, troubled.rest_until

    ends(troubled, Cause.NOT_STARTED, 4)

    assert (troubled.failures, troubled.refused_since, troubled.rest_until) == before
    assert before[:2] == (3, NOON + timedelta(seconds=1))
    ends(troubled, Cause.ACCEPTED, 5)
    assert (troubled.failures, troubled.refused_since) == (0, None)


def test_the_rest_after_trouble_and_the_wait_that_wasender_asks_for_are_kept_apart() -> None:
    one = lane()
    ends(one, Cause.THROTTLED, retry_after_s=60)
    for _ in range(8):
        ends(one, Cause.TIMEOUT, 1)
    assert one.paced_at == NOON + timedelta(seconds=60)
    assert one.opens_at == one.rest_until == NOON + timedelta(seconds=1 + 128)
    one.came_up_again()
    assert one.opens_at == NOON + timedelta(seconds=60)


def test_a_lane_that_follows_another_keeps_what_that_one_could_not_write() -> None:
    former, after = lane(), lane(slowdown=1.2)
    gone = ConnectionReport(connection=Connection.NOT_CONNECTED, word="need_scan")
    ends(former, Cause.THROTTLED)
    ends(former, Cause.TIMEOUT, 1)
    ends(former, Cause.CHANNEL_DOWN, 2, report=gone)

    after.follow(former)

    assert (after.paced_at, after.opens_at, after.failures) == (former.paced_at, former.opens_at, 1)
    assert after.pacing.slowdown == former.pacing.slowdown == 1.5
    assert (after.report, after.lost_an_answer, after.closing, after.changed) == (gone, True, True, True)


def test_a_lane_that_follows_one_that_has_written_everything_believes_the_row() -> None:
    former, after = lane(), lane()
    ends(former, Cause.TIMEOUT, 1)
    former.changed = False
    after.follow(former)
    assert (after.failures, after.rest_until, after.changed) == (0, None, False)


def refused_too_long(one: Lane, after_s: float) -> bool:
    return one.refused_too_long(NOON + timedelta(seconds=after_s), ACK_TIMEOUT_S)


def test_a_message_that_is_known_to_be_refused_alone_slows_nobody_down_but_outweighs_connected_in_the_end() -> None:
    one = lane()
    for after_s in (0, 30, 60, 90, 120):
        ends(one, Cause.CHANNEL_DOWN, after_s, report=CONNECTED, refusals=2)
        assert one.opens_at <= NOON + timedelta(seconds=after_s + 5.05)
    assert one.failures == REFUSALS_BELIEVED, "another message's trouble would last the longer"
    assert not refused_too_long(one, 120)

    long_after_s = ACK_TIMEOUT_S * ITS_OWN_FACTOR
    ends(one, Cause.CHANNEL_DOWN, long_after_s, report=CONNECTED, refusals=2)

    assert refused_too_long(one, long_after_s)


def test_any_message_that_is_taken_clears_the_channel_of_what_another_ones_refusals_say() -> None:
    one = lane()
    for after_s in (0, 300, 500):
        ends(one, Cause.CHANNEL_DOWN, after_s, report=CONNECTED, refusals=2)
    ends(one, Cause.ACCEPTED, 510)
    for after_s in (520, 560, 600):
        ends(one, Cause.CHANNEL_DOWN, after_s, report=CONNECTED, refusals=3)
        assert not refused_too_long(one, after_s)


def test_nothing_is_held_against_a_channel_before_the_answer_to_the_latest_message_is_there() -> None:
    one = lane()
    for after_s in (0, 30, 50):
        ends(one, Cause.CHANNEL_DOWN, after_s, report=CONNECTED)
    one.refused = None  # written down
    assert not refused_too_long(one, 90)
    ends(one, Cause.CHANNEL_DOWN, 90, report=CONNECTED)
    assert refused_too_long(one, 90)


@pytest.mark.parametrize("http_status", [401, 402, 403])
@pytest.mark.parametrize("refusals", [0, 2, 9])
def test_a_status_that_speaks_of_the_plan_blocks_whatever_is_known_of_its_message(
    http_status: int, refusals: int
) -> None:
    one = lane()
    ends(one, Cause.NO_SUBSCRIPTION, http_status=http_status, refusals=refusals)
    assert (one.blocked_by, one.closing) == ("no_subscription", True)


# Refused by words about the plan, under a status that may mean the message


def refused_by_words(one: Lane, after_s: float, seq: int, refusals: int = 0) -> None:
    ends(one, Cause.NO_SUBSCRIPTION, after_s, http_status=422, seq=seq, refusals=refusals)


def test_words_about_the_plan_block_once_they_answer_another_message_too() -> None:
    one = lane()
    ends(one, Cause.TIMEOUT, 0, seq=3)
    for after_s in (1, 2, 3):
        refused_by_words(one, after_s, seq=1)
        assert one.blocked_by is None, "earlier trouble, or its own refusals, were held against it"
    refused_by_words(one, 4, seq=2)
    assert (one.blocked_by, one.closing) == ("no_subscription", True)


def test_words_about_the_plan_are_forgotten_when_a_message_is_taken() -> None:
    one = lane()
    for after_s, seq in enumerate(range(1, 9, 2)):
        refused_by_words(one, after_s, seq=seq)
        ends(one, Cause.ACCEPTED, after_s + 0.5, seq=seq + 1)
    assert (one.blocked_by, one.failures, one.refused_since) == (None, 0, None)


def test_what_is_known_to_be_refused_alone_lends_no_weight_to_the_refusal_of_another_message() -> None:
    one = lane()
    refused_by_words(one, 0, seq=1, refusals=2)
    refused_by_words(one, 1, seq=2)
    refused_by_words(one, 2, seq=1, refusals=2)
    assert one.blocked_by is None


def test_words_about_the_plan_are_believed_in_the_end_though_only_one_message_waits() -> None:
    one = lane()
    for after_s in (0, 20, 40):
        refused_by_words(one, after_s, seq=1, refusals=1)
        assert not refused_too_long(one, after_s)
    refused_by_words(one, 60, seq=1, refusals=1)
    assert refused_too_long(one, 60)
