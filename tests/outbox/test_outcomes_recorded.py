"""What an attempt proved is written once, moves its message by the rules, and yields to stronger evidence."""

import pytest

from tests.outbox.desk import OURS, THEIRS, Desk
from worker.domain.evidence import Ack
from worker.domain.message_status import MessageState
from worker.domain.outcomes import OUTCOME_RULES, Cause, Outcome, OutcomeKind
from worker.outbox.claims import FIRST_CHECK_AFTER, Finished, record_outcomes

STATE_AFTER = {
    OutcomeKind.ACCEPTED: MessageState.ACCEPTED,
    OutcomeKind.NOT_SENT: MessageState.QUEUED,
    OutcomeKind.REJECTED: MessageState.FAILED,
    OutcomeKind.UNKNOWN: MessageState.IN_DOUBT,
}


def gateway_id_of(cause: Cause) -> int | None:
    return 58224349 if cause is Cause.ACCEPTED else None


def test_each_cause_moves_the_message_as_its_rule_says(desk: Desk) -> None:
    for cause in Cause:
        channel_id = desk.channel(cause)
        seq = desk.enqueue(channel_id)
        claim = desk.leased_claim(channel_id)
        desk.finish(claim, cause, gateway_msg_id=gateway_id_of(cause))
        assert_written_by_the_rule(desk, seq, cause)


def assert_written_by_the_rule(desk: Desk, seq: int, cause: Cause) -> None:
    rule = OUTCOME_RULES[cause]
    row = desk.message(seq)
    assert row.state is STATE_AFTER[rule.kind]
    assert row.lease_token is None
    assert desk.events(seq) == [
        (None, "queued", "api"),
        ("queued", "sending", "worker"),
        ("sending", row.state.value, "worker"),
    ]
    (attempt,) = desk.attempts(seq)
    assert (attempt.number, attempt.cause, attempt.outcome, attempt.worker) == (1, cause, rule.kind, "host:1")
    assert row.gateway_msg_id == attempt.gateway_msg_id == gateway_id_of(cause)
    failed = rule.kind is OutcomeKind.REJECTED
    assert (row.error_code, row.error_message) == ((cause.value, rule.sentence) if failed else (None, None))
    asked_at = desk.now + FIRST_CHECK_AFTER if cause is Cause.ACCEPTED else None
    assert row.next_check_at == asked_at
    assert row.accepted_at == (desk.now if cause is Cause.ACCEPTED else None)


def test_every_post_has_one_attempt_whatever_became_of_it(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.lease()
    causes = [Cause.UNREACHABLE, Cause.THROTTLED, Cause.CHANNEL_DOWN, Cause.ACCEPTED]
    for cause in causes:
        desk.finish(desk.claim_one(channel_id), cause, gateway_msg_id=gateway_id_of(cause))
    stored = [(attempt.number, attempt.cause) for attempt in desk.attempts(seq)]
    assert stored == list(enumerate(causes, start=1))
    assert desk.message(seq).attempts == len(causes)


@pytest.mark.parametrize("cause", [Cause.ACCEPTED, Cause.UNREACHABLE, Cause.REFUSED, Cause.TIMEOUT])
def test_recording_twice_is_recording_once(desk: Desk, cause: Cause) -> None:
    """The commit's answer may be lost, so that a run records again what is stored already."""
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    claim = desk.leased_claim(channel_id)
    desk.finish(claim, cause, gateway_msg_id=gateway_id_of(cause))
    once = desk.message(seq), desk.events(seq), len(desk.attempts(seq))
    desk.finish(claim, cause, gateway_msg_id=gateway_id_of(cause))
    assert (desk.message(seq), desk.events(seq), len(desk.attempts(seq))) == once


def test_a_not_sent_message_that_another_run_has_claimed_since_is_left_to_that_run(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    first = desk.leased_claim(channel_id)
    desk.finish(first, Cause.UNREACHABLE)
    desk.wait(15)
    second = desk.leased_claim(channel_id, THEIRS)
    desk.finish(first, Cause.UNREACHABLE)
    assert desk.state(seq) is MessageState.SENDING
    desk.finish(second, Cause.ACCEPTED, token=THEIRS, gateway_msg_id=9)
    assert desk.state(seq) is MessageState.ACCEPTED
    assert [attempt.cause for attempt in desk.attempts(seq)] == [Cause.UNREACHABLE, Cause.ACCEPTED]


@pytest.mark.parametrize("cause", [Cause.ACCEPTED, Cause.TIMEOUT, Cause.REFUSED])
@pytest.mark.parametrize("ack", [Ack.SERVER, Ack.READ])
def test_a_message_that_was_ticked_before_its_answer_came_keeps_its_tick(desk: Desk, cause: Cause, ack: Ack) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    claim = desk.leased_claim(channel_id)
    desk.tick(seq, ack)
    ticked = desk.state(seq)
    desk.finish(claim, cause, gateway_msg_id=gateway_id_of(cause))
    row = desk.message(seq)
    assert row.state is ticked
    assert row.error_code is None
    assert row.gateway_msg_id == gateway_id_of(cause), "the gateway's id is worth knowing all the same"
    assert desk.events(seq)[-1] == ("sending", ticked.value, "info")
    assert [attempt.cause for attempt in desk.attempts(seq)] == [cause]


def test_several_answers_of_one_turn_are_told_apart(desk: Desk) -> None:
    channels = [desk.channel(name) for name in ("one", "two", "three")]
    for channel_id in channels:
        desk.enqueue(channel_id)
    desk.lease()
    claims = desk.claim(channels).claims
    causes = dict(zip((claim.seq for claim in claims), (Cause.ACCEPTED, Cause.TIMEOUT, Cause.BAD_KEY), strict=True))
    done = [
        Finished(
            claim=claim,
            started_at=desk.now,
            finished_at=desk.now,
            outcome=Outcome(cause=causes[claim.seq], gateway_msg_id=gateway_id_of(causes[claim.seq])),
        )
        for claim in reversed(claims)
    ]
    desk.write(lambda c: record_outcomes(c, done, OURS, now=desk.now, worker="host:1"))
    for seq, cause in causes.items():
        assert desk.state(seq) is STATE_AFTER[OUTCOME_RULES[cause].kind]
        assert [attempt.cause for attempt in desk.attempts(seq)] == [cause]
