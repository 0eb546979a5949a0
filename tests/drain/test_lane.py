"""What a lane in a run's memory learns from the attempts that end, and what it keeps of the lane before it."""

from datetime import timedelta

from pydantic import SecretStr

from tests.outbox.desk import ALICE, NOON
from worker.domain.evidence import Connection, ConnectionReport
from worker.domain.outcomes import Cause, Outcome
from worker.domain.pace import Pace, Pacing
from worker.outbox.claims import Claim, Finished
from worker.sending.lane import Lane
from worker.sending.senders import Job

KEY = SecretStr("")


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
) -> None:
    """An attempt of the lane comes to this end."""
    at = NOON + timedelta(seconds=after_s)
    started_at = None if cause is Cause.NOT_STARTED else at
    claim = Claim(seq=1, channel_id=1, recipient=ALICE, content={"text": "Hello"}, attempt=1, claimed_at=NOON)
    job = Job(claim=claim, api_key=KEY, not_before=at, begin_before=one.lease_until, report=report)
    job.started_at = started_at
    outcome = Outcome(cause=cause, retry_after_s=retry_after_s)
    job.finished = Finished(claim=claim, started_at=started_at, finished_at=at, outcome=outcome)
    one.in_flight.append(job)
    one.absorb(job)


def test_an_attempt_that_never_began_says_nothing_about_wasender() -> None:
    troubled = lane()
    for after_s in (1, 2, 3):
        ends(troubled, Cause.CHANNEL_DOWN, after_s, report=ConnectionReport(connection=Connection.CONNECTED, word=""))
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
