"""What an attempt proved is written once, moves its message by the rules, and yields to stronger evidence."""

from datetime import timedelta

import pytest

from tests.outbox.desk import THEIRS, Desk
from worker.domain.evidence import Ack
from worker.domain.message_status import MessageState
from worker.domain.outcomes import OUTCOME_RULES, Cause, Outcome, OutcomeKind
from worker.outbox.abandoned import FIRST_LOOK_AFTER
from worker.outbox.claims import FIRST_CHECK_AFTER, Finished

STATE_AFTER = {
    OutcomeKind.ACCEPTED: MessageState.ACCEPTED,
    OutcomeKind.NOT_SENT: MessageState.QUEUED,
    OutcomeKind.REJECTED: MessageState.FAILED,
    OutcomeKind.UNKNOWN: MessageState.IN_DOUBT,
}
#: How soon evidence is looked for; None: there is none to look for.
LOOKED_FOR_AFTER: dict[OutcomeKind, timedelta | None] = {
    OutcomeKind.ACCEPTED: FIRST_CHECK_AFTER,
    OutcomeKind.NOT_SENT: None,
    OutcomeKind.REJECTED: None,
    OutcomeKind.UNKNOWN: FIRST_LOOK_AFTER,
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
    after = LOOKED_FOR_AFTER[rule.kind]
    assert row.next_check_at == (desk.now + after if after else None)
    assert row.attempts == (rule.kind is not OutcomeKind.NOT_SENT), "what was not sent was not tried"
    assert row.doubts == (rule.kind is OutcomeKind.UNKNOWN)
    assert row.attention is None
    assert row.accepted_at == (desk.now if cause is Cause.ACCEPTED else None)


def test_a_refusal_because_of_the_channel_or_the_way_to_it_is_not_an_attempt(desk: Desk) -> None:
    """The last one is kept for whoever asks why the message waits, until the next attempt takes its number."""
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.lease()
    refusals = [cause for cause in Cause if OUTCOME_RULES[cause].kind is OutcomeKind.NOT_SENT]
    for cause in refusals:
        desk.wait(1)
        claim = desk.claim_one(channel_id)
        assert claim.attempt == 1
        desk.finish(claim, cause)
        assert [(row.number, row.cause) for row in desk.attempts(seq)] == [(1, cause)]
        assert desk.message(seq).attempts == 0
    desk.wait(1)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    assert [(row.number, row.cause) for row in desk.attempts(seq)] == [(1, Cause.ACCEPTED)]
    assert len(desk.events(seq)) == 1 + 2 * (len(refusals) + 1), "each refusal is still a transition"


def test_every_post_that_counts_has_an_attempt_of_its_own(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.lease()
    causes = [Cause.TIMEOUT, Cause.CONNECTION_LOST, Cause.THROTTLED, Cause.ACCEPTED]
    for cause in causes:
        desk.wait(1)
        desk.finish(desk.claim_one(channel_id), cause, gateway_msg_id=gateway_id_of(cause))
        if cause is not Cause.THROTTLED and cause is not Cause.ACCEPTED:
            assert desk.requeue(seq)
    stored = [(attempt.number, attempt.cause) for attempt in desk.attempts(seq)]
    assert stored == [(1, Cause.TIMEOUT), (2, Cause.CONNECTION_LOST), (3, Cause.ACCEPTED)]
    row = desk.message(seq)
    assert (row.attempts, row.doubts, row.resends) == (3, 2, 0)


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
    assert [attempt.cause for attempt in desk.attempts(seq)] == [Cause.ACCEPTED]


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.ACCEPTED, Cause.REFUSED])
def test_a_refusal_that_is_written_down_twice_does_not_undo_what_a_later_post_proved(
    desk: Desk, cause: Cause
) -> None:
    """The refused attempt did not count, so the later one has its number: they must not be taken for each other."""
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    first = desk.leased_claim(channel_id)
    desk.finish(first, Cause.UNREACHABLE)
    desk.wait(15)
    second = desk.leased_claim(channel_id, THEIRS)
    assert second.attempt == first.attempt
    desk.finish(second, cause, token=THEIRS, gateway_msg_id=gateway_id_of(cause))
    proven = desk.message(seq), desk.attempts(seq), desk.events(seq)
    desk.finish(first, Cause.UNREACHABLE)
    assert (desk.message(seq), desk.attempts(seq), desk.events(seq)) == proven


@pytest.mark.parametrize("cause", [Cause.ACCEPTED, Cause.TIMEOUT, Cause.REFUSED])
@pytest.mark.parametrize("ack", [Ack.SERVER, Ack.READ])
def test_a_message_that_was_ticked_before_its_answer_came_keeps_its_tick(desk: Desk, cause: Cause, ack: Ack) -> None:
    """It was being sent again when its first attempt, of which nobody had heard, was ticked."""
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.finish(desk.leased_claim(channel_id), Cause.TIMEOUT)
    assert desk.requeue(seq)
    claim = desk.claim_one(channel_id)
    desk.tick(seq, ack)
    ticked = desk.state(seq)
    assert ticked in {"sent", "read"}
    desk.finish(claim, cause, gateway_msg_id=gateway_id_of(cause))
    row = desk.message(seq)
    assert row.state is ticked
    assert row.error_code is None
    assert row.gateway_msg_id == gateway_id_of(cause), "the gateway's id is worth knowing all the same"
    assert (row.next_check_at is not None) == (ack is Ack.SERVER or cause is Cause.ACCEPTED)
    assert desk.events(seq)[-1] == ("sending", ticked.value, "info")
    assert [attempt.cause for attempt in desk.attempts(seq)] == [Cause.TIMEOUT, cause]


def test_a_late_acceptance_calls_back_a_message_that_doubt_had_put_into_the_queue_again(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    assert desk.doubt([channel_id]) == 1
    assert desk.requeue(seq)
    desk.finish(late, Cause.ACCEPTED, gateway_msg_id=7)
    row = desk.message(seq)
    assert (row.state, row.gateway_msg_id, row.doubts) == (MessageState.ACCEPTED, 7, 0)
    assert desk.events(seq)[-1] == ("queued", "accepted", "worker")


def test_it_is_called_back_even_when_sending_it_again_was_tried_in_vain(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    desk.requeue(seq)
    desk.finish(desk.claim_one(channel_id), Cause.THROTTLED)
    desk.finish(late, Cause.ACCEPTED, gateway_msg_id=7)
    assert desk.state(seq) is MessageState.ACCEPTED


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.REFUSED, Cause.UNREACHABLE])
def test_no_other_late_answer_calls_a_message_back_from_the_queue(desk: Desk, cause: Cause) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    desk.requeue(seq)
    desk.finish(late, cause)
    assert desk.state(seq) is MessageState.QUEUED
    assert [attempt.cause for attempt in desk.attempts(seq)] == [cause], "it is written down all the same"


def test_a_late_not_sent_of_what_doubt_had_put_back_leaves_its_number_to_the_next_attempt(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    desk.requeue(seq)
    desk.finish(late, Cause.UNREACHABLE)
    desk.finish(late, Cause.UNREACHABLE)
    assert (desk.message(seq).attempts, desk.message(seq).doubts) == (0, 0)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=7)
    assert [(attempt.number, attempt.cause) for attempt in desk.attempts(seq)] == [(1, Cause.ACCEPTED)]


def test_a_late_acceptance_of_what_is_being_sent_again_is_kept_with_its_own_attempt(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    desk.requeue(seq, resent=True)
    again = desk.claim_one(channel_id)
    desk.finish(late, Cause.ACCEPTED, gateway_msg_id=7)
    assert desk.state(seq) is MessageState.SENDING
    desk.finish(again, Cause.ACCEPTED, gateway_msg_id=9)
    desk.finish(late, Cause.ACCEPTED, gateway_msg_id=7)
    assert desk.message(seq).gateway_msg_id == 9
    assert [attempt.gateway_msg_id for attempt in desk.attempts(seq)] == [7, 9]


@pytest.mark.parametrize("cause", [Cause.ACCEPTED, Cause.REFUSED, Cause.UNREACHABLE])
def test_a_late_answer_ends_the_doubt_and_what_a_person_was_asked_about_it(desk: Desk, cause: Cause) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    assert desk.hold(seq, "in_doubt")
    row = desk.message(seq)
    assert (row.doubts, row.attention, row.next_check_at) == (1, "in_doubt", None)
    desk.finish(late, cause, gateway_msg_id=gateway_id_of(cause))
    row = desk.message(seq)
    assert row.state is STATE_AFTER[OUTCOME_RULES[cause].kind]
    assert (row.doubts, row.attention) == (0, None)


def test_an_answer_that_came_late_and_says_nothing_is_still_one_doubt(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    desk.finish(late, Cause.TIMEOUT)
    row = desk.message(seq)
    assert (row.state, row.doubts, row.attempts) == (MessageState.IN_DOUBT, 1, 1)


def test_an_answer_without_an_id_does_not_take_away_the_id_that_was_found_in_the_logs(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    assert desk.adopt(seq, gateway_msg_id=1001)
    desk.finish(late, Cause.TIMEOUT)
    assert (desk.state(seq), desk.message(seq).gateway_msg_id) == (MessageState.ACCEPTED, 1001)
    assert [attempt.gateway_msg_id for attempt in desk.attempts(seq)] == [1001], "or nobody could ask for its tick"


def test_an_acceptance_names_a_message_that_a_webhook_had_found_already(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    late = desk.leased_claim(channel_id)
    desk.wait(16)
    desk.doubt([channel_id])
    assert desk.adopt(seq, whatsapp_key_id="3EB0")
    assert desk.message(seq).next_check_at is None, "nobody can ask about a message without WaSender's id"
    desk.finish(late, Cause.ACCEPTED, gateway_msg_id=7)
    row = desk.message(seq)
    assert (row.gateway_msg_id, row.next_check_at) == (7, desk.now + FIRST_CHECK_AFTER)


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
    desk.record(done)
    for seq, cause in causes.items():
        assert desk.state(seq) is STATE_AFTER[OUTCOME_RULES[cause].kind]
        assert [attempt.cause for attempt in desk.attempts(seq)] == [cause]
