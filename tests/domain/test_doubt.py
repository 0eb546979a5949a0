"""What becomes of a message whose fate is open: evidence first, its policy second, a person third."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.doubt import (
    MOST_DOUBTS,
    MOST_RESENDS,
    Decision,
    Doubt,
    Swallowed,
    Verdict,
    decide_doubt,
    decide_swallowed,
)

policies = st.sampled_from(["hold", "resend"])
doubts = st.builds(
    Doubt,
    policy=policies,
    doubts=st.integers(1, 5),
    resends=st.integers(0, 3),
    settled=st.booleans(),
    overtaken=st.booleans(),
)
swallowed = st.builds(
    Swallowed,
    policy=policies,
    resends=st.integers(0, 3),
    settled=st.booleans(),
    overtaken=st.booleans(),
    later_open=st.booleans(),
)
verdicts = st.sampled_from(Verdict)
SETTLED = Doubt(policy="resend", doubts=1, resends=0, settled=True)
AGAIN = {Decision.REQUEUE, Decision.RESEND}


@given(doubt=doubts)
def test_what_was_found_always_wins(doubt: Doubt) -> None:
    assert decide_doubt(doubt, Verdict.FOUND) is Decision.ADOPT
    assert decide_doubt(doubt, Verdict.FOUND_FAILED) is Decision.FAIL


@given(doubt=doubts, verdict=verdicts)
def test_nothing_is_adopted_that_was_not_found(doubt: Doubt, verdict: Verdict) -> None:
    adopted = decide_doubt(doubt, verdict) is Decision.ADOPT
    assert adopted == (verdict is Verdict.FOUND)


@given(doubt=doubts, verdict=verdicts)
def test_without_proof_it_is_sent_again_at_most_once_and_only_if_its_policy_says_so(
    doubt: Doubt, verdict: Verdict
) -> None:
    decision = decide_doubt(doubt, verdict)
    if decision is Decision.RESEND:
        assert verdict is Verdict.NO_PROOF
        assert doubt.policy == "resend"
        assert doubt.resends < MOST_RESENDS
        assert doubt.settled
        assert not doubt.overtaken
    if decision is Decision.REQUEUE:
        assert verdict is Verdict.ABSENT


@given(doubt=doubts, verdict=verdicts)
def test_nothing_is_sent_again_once_a_later_message_to_the_recipient_has_gone_out(
    doubt: Doubt, verdict: Verdict
) -> None:
    assert decide_doubt(replace(doubt, overtaken=True), verdict) not in AGAIN


@given(doubt=doubts, verdict=st.sampled_from([Verdict.NOT_YET, Verdict.NO_PROOF, Verdict.UNCLEAR]))
def test_nothing_is_decided_without_proof_before_a_webhook_would_have_come(doubt: Doubt, verdict: Verdict) -> None:
    assert decide_doubt(replace(doubt, settled=False), verdict) is Decision.WAIT


@given(doubt=doubts)
def test_proof_that_may_still_come_is_waited_for(doubt: Doubt) -> None:
    assert decide_doubt(doubt, Verdict.NOT_YET) is Decision.WAIT


@pytest.mark.parametrize("verdict", [Verdict.NO_PROOF, Verdict.UNCLEAR])
@given(doubt=doubts)
def test_hold_means_that_a_person_decides(verdict: Verdict, doubt: Doubt) -> None:
    assert decide_doubt(replace(doubt, policy="hold", settled=True), verdict) is Decision.HOLD


def test_something_like_it_in_the_logs_is_reason_enough_not_to_send_it_again() -> None:
    assert decide_doubt(SETTLED, Verdict.UNCLEAR) is Decision.HOLD
    assert decide_doubt(SETTLED, Verdict.NO_PROOF) is Decision.RESEND


def test_a_message_that_is_proven_absent_again_and_again_is_given_up() -> None:
    decided = [decide_doubt(replace(SETTLED, doubts=times), Verdict.ABSENT) for times in range(1, MOST_DOUBTS + 1)]
    assert decided == [Decision.REQUEUE] * (MOST_DOUBTS - 1) + [Decision.FAIL]


@given(doubt=doubts, told=st.lists(verdicts, min_size=1, max_size=12))
def test_whatever_the_logs_tell_a_message_is_tried_a_bounded_number_of_times(
    doubt: Doubt, told: list[Verdict]
) -> None:
    """Each time it is sent again it ends without an answer again."""
    doubt = replace(doubt, doubts=1, resends=0)
    sent_again = 0
    for verdict in told:
        decision = decide_doubt(doubt, verdict)
        if decision in {Decision.ADOPT, Decision.FAIL, Decision.HOLD}:
            break
        if decision in AGAIN:
            sent_again += 1
            resent = decision is Decision.RESEND
            doubt = replace(doubt, doubts=doubt.doubts + 1, resends=doubt.resends + resent)
    assert sent_again <= MOST_DOUBTS - 1 + MOST_RESENDS


@given(message=swallowed)
def test_what_an_outage_swallowed_is_sent_again_once_and_never_out_of_order(message: Swallowed) -> None:
    if decide_swallowed(message) is Decision.RESEND:
        assert message.policy == "resend"
        assert message.resends < MOST_RESENDS
        assert message.settled
        assert not message.overtaken
        assert not message.later_open


@given(message=swallowed)
def test_it_waits_until_the_channel_has_settled_and_wasender_was_asked(message: Swallowed) -> None:
    waits = decide_swallowed(replace(message, settled=False))
    assert waits is Decision.WAIT


@pytest.mark.parametrize(
    ("change", "decision"),
    [
        ({}, Decision.RESEND),
        ({"policy": "hold"}, Decision.HOLD),
        ({"resends": 1}, Decision.HOLD),
        ({"overtaken": True}, Decision.HOLD),
        ({"later_open": True}, Decision.WAIT),
        ({"overtaken": True, "later_open": True}, Decision.HOLD),
    ],
)
def test_a_settled_one_is_sent_again_unless_something_speaks_against_it(
    change: dict[str, object], decision: Decision
) -> None:
    message = Swallowed(policy="resend", resends=0, settled=True, overtaken=False, later_open=False)
    assert decide_swallowed(replace(message, **change)) is decision  # type: ignore[arg-type]


def test_a_decision_is_made_in_every_case() -> None:
    for policy, settled, overtaken, verdict in product(("hold", "resend"), (True, False), (True, False), Verdict):
        doubt = Doubt(policy=policy, doubts=1, resends=0, settled=settled, overtaken=overtaken)
        assert isinstance(decide_doubt(doubt, verdict), Decision)
