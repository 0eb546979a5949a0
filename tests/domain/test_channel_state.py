"""Channel states: what moves them, what does not, and that every trouble comes with advice."""

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.outbox.desk import NOON
from worker.domain.channel_state import (
    BLOCK_RETRY_AFTER,
    DEFAULT_CHANNEL,
    KEY_ROTATION,
    ChannelState,
    ChannelVerdict,
    remedy,
    state_after_report,
)
from worker.domain.evidence import Connection, ConnectionReport
from worker.domain.message_status import PENDING_STATES, MessageState
from worker.domain.outcomes import OUTCOME_RULES, Cause, ChannelEffect, OutcomeKind
from worker.domain.pace import Pace, Pacing
from worker.domain.pending_reason import ChannelView, PendingReason, Standing, pending_reason

C = ChannelState
PACING = Pacing(pace=Pace(1, 5))
WORDS = ["", "connected", "need_scan", "logged_out", "expired", "connecting", "disconnected", "need_passkey", "odd"]
OF_SECRET_KEYS = ["no_secret_key", "bad_secret_key", "wrong_secret_key"]
WORDS += [*Cause, "no_api_key", *OF_SECRET_KEYS]
reports = st.builds(ConnectionReport, connection=st.sampled_from(Connection), word=st.sampled_from(WORDS))


def after(
    state: ChannelState, reason: str, report: ConnectionReport, *, lasted: timedelta = timedelta(days=1)
) -> ChannelVerdict | None:
    return state_after_report(state, reason, NOON - lasted, report, NOON)


@given(state=st.sampled_from(C), reason=st.sampled_from(WORDS), word=st.sampled_from(WORDS))
def test_a_gateway_that_could_not_be_asked_says_nothing_about_a_channel(
    state: ChannelState, reason: str, word: str
) -> None:
    assert after(state, reason, ConnectionReport(connection=Connection.UNVERIFIED, word=word)) is None


@given(report=reports, reason=st.sampled_from(WORDS))
def test_only_a_person_lifts_a_pause(report: ConnectionReport, reason: str) -> None:
    assert after(C.PAUSED, reason, report) is None


@given(state=st.sampled_from(C), reason=st.sampled_from(WORDS), reports=st.lists(reports, max_size=6))
def test_the_same_report_twice_is_news_once(
    state: ChannelState, reason: str, reports: list[ConnectionReport]
) -> None:
    for report in reports:
        verdict = after(state, reason, report)
        if verdict is not None:
            assert (verdict.state, verdict.reason) != (state, reason)
            assert verdict.state in {C.UP, C.DOWN, C.BLOCKED}
            state, reason = verdict.state, verdict.reason
        assert after(state, reason, report) is None


@pytest.mark.parametrize("state", [C.UNKNOWN, C.UP, C.DOWN, C.BLOCKED])
def test_each_answer_leads_to_its_state(state: ChannelState) -> None:
    connected = ConnectionReport(connection=Connection.CONNECTED, word="connected")
    gone = ConnectionReport(connection=Connection.NOT_CONNECTED, word="need_scan")
    refused = ConnectionReport(connection=Connection.REFUSED, word=Cause.BAD_KEY)
    assert after(state, "x", connected) == ChannelVerdict(C.UP, "connected")
    assert after(state, "x", gone) == ChannelVerdict(C.DOWN, "need_scan")
    assert after(state, "x", refused) == ChannelVerdict(C.BLOCKED, Cause.BAD_KEY)


@given(state=st.sampled_from([C.DOWN, C.BLOCKED, C.UNKNOWN, C.MUTE]), reason=st.sampled_from(WORDS), report=reports)
def test_no_word_of_wasenders_brings_a_channel_up_from_which_a_tick_is_awaited(
    state: ChannelState, reason: str, report: ConnectionReport
) -> None:
    verdict = state_after_report(state, reason, NOON - timedelta(days=1), report, NOON, tick_awaited=True)
    assert verdict is None or verdict.state is not C.UP
    if report.connection is Connection.CONNECTED:
        assert state is C.MUTE or verdict == ChannelVerdict(C.MUTE, "connected_again")


@pytest.mark.parametrize("reason", [Cause.NO_SUBSCRIPTION, Cause.WRONG_ADDRESS])
def test_a_block_that_the_status_cannot_see_lasts_its_time(reason: str) -> None:
    connected = ConnectionReport(connection=Connection.CONNECTED, word="connected")
    almost = BLOCK_RETRY_AFTER - timedelta(microseconds=1)
    assert after(C.BLOCKED, reason, connected, lasted=almost) is None
    assert after(C.BLOCKED, reason, connected, lasted=BLOCK_RETRY_AFTER) == ChannelVerdict(C.UP, "connected")


@pytest.mark.parametrize("reason", [Cause.BAD_KEY, Cause.WRONG_CREDENTIAL, "no_api_key", *OF_SECRET_KEYS])
def test_a_block_that_a_good_answer_disproves_ends_at_once(reason: str) -> None:
    connected = ConnectionReport(connection=Connection.CONNECTED, word="connected")
    assert after(C.BLOCKED, reason, connected, lasted=timedelta(0)) == ChannelVerdict(C.UP, "connected")


@pytest.mark.parametrize(("state", "reason"), list(product(C, WORDS)))
def test_every_channel_that_does_not_send_comes_with_advice(state: ChannelState, reason: str) -> None:
    advice = remedy(state, reason, "sales")
    assert (advice is None) == (state is C.UP)
    if advice is not None:
        assert advice[0].isupper()
        assert len(advice) > 20


def test_nobody_is_told_to_restart_a_session_that_has_just_come_back_before_a_message_has_tried_it() -> None:
    assert (remedy(C.MUTE, "connected_again", "sales") or "").startswith("Wait for the next single message")
    assert "Restart the session" in (remedy(C.MUTE, "no_ticks", "sales") or "")


@pytest.mark.parametrize("cause", [cause for cause, rule in OUTCOME_RULES.items() if rule.channel_effect == "block"])
def test_every_block_has_advice_of_its_own(cause: Cause) -> None:
    assert remedy(C.BLOCKED, cause, "sales") != remedy(C.BLOCKED, "odd", "sales")


@pytest.mark.parametrize("reason", OF_SECRET_KEYS)
def test_a_key_that_cannot_be_opened_leads_to_the_setting_and_not_to_the_phone(reason: str) -> None:
    advice = remedy(C.BLOCKED, reason, "sales") or ""
    assert "TRUETICK_SECRET_KEY" in advice
    assert "phone" not in advice


@pytest.mark.parametrize(("reason", "said"), [("by a person", "person"), (KEY_ROTATION, "key is replaced")])
def test_a_pause_is_called_a_persons_only_where_it_is_one(reason: str, said: str) -> None:
    view = ChannelView(name="sales", state=C.PAUSED, reason=reason, next_slot_at=None, failures=0, pacing=PACING)
    why = pending_reason(Standing(id="1", state=MessageState.QUEUED, due_at=NOON), view, NOON)
    assert why is not None
    assert (why.code, said in why.sentence) == ("channel_paused", True)
    assert ("person" in why.sentence) is (reason != KEY_ROTATION)


@pytest.mark.parametrize("cause", [Cause.BAD_KEY, Cause.WRONG_CREDENTIAL, "no_api_key"])
def test_advice_about_a_key_names_the_place_where_the_channel_has_it(cause: str) -> None:
    of_default, of_another = (remedy(C.BLOCKED, cause, name) or "" for name in (DEFAULT_CHANNEL, "sales"))
    assert "WASENDER_API_KEY" in of_default
    assert "set-key" not in of_default
    assert "truetick channels set-key sales" in of_another
    assert "WASENDER_API_KEY" not in of_another


def test_a_wrong_address_can_be_tried_again_at_once() -> None:
    assert "truetick channels resume sales" in (remedy(C.BLOCKED, Cause.WRONG_ADDRESS, "sales") or "")


@pytest.mark.parametrize(("message", "channel"), list(product(MessageState, C)))
def test_every_pending_message_can_say_why_and_no_other_does(message: MessageState, channel: ChannelState) -> None:
    for due_in_s, failures, reason in product((-1, 0, 1), (0, 3), ("", "need_scan", Cause.NO_SUBSCRIPTION)):
        due_at = NOON + timedelta(seconds=due_in_s)
        view = ChannelView(
            name="sales", state=channel, reason=reason, next_slot_at=NOON, failures=failures, pacing=PACING
        )
        why = pending_reason(Standing(id="0192", state=message, due_at=due_at), view, NOON)
        assert (why is not None) == (message in PENDING_STATES)
        if why is None:
            continue
        assert why.sentence.endswith(".")
        assert "()" not in why.sentence
        if message is MessageState.QUEUED:
            waits_for_channel = due_in_s <= 0 and channel is not C.UP
            assert why.code.startswith("channel_") == waits_for_channel
            assert (why.action is not None) == waits_for_channel
            assert (why.code == "scheduled") == (due_in_s > 0)


def why_queued(channel: ChannelView, *, recipient_waits: bool = False) -> PendingReason | None:
    message = Standing(id="0192", state=MessageState.QUEUED, due_at=NOON, recipient_waits=recipient_waits)
    return pending_reason(message, channel, NOON)


@pytest.mark.parametrize(
    ("slot_in_s", "failures", "code"),
    [(0, 0, "paced"), (5.05, 0, "paced"), (60, 0, "throttled"), (60, 2, "retrying"), (-60, 0, "paced")],
)
def test_a_slot_beyond_the_pace_is_called_throttled_and_says_when_sending_goes_on(
    slot_in_s: float, failures: int, code: str
) -> None:
    slot = NOON + timedelta(seconds=slot_in_s)
    pacing = PACING.throttled(7200) if code == "throttled" else PACING
    view = ChannelView(name="sales", state=C.UP, reason="", next_slot_at=slot, failures=failures, pacing=pacing)

    why = why_queued(view)

    assert why is not None
    assert why.code == code
    assert ("12:01:00 UTC" in why.sentence) == (code == "throttled")


@pytest.mark.parametrize(
    ("unacked", "recipient_waits", "code"),
    [(0, False, "paced"), (1, False, "window_full"), (1, True, "recipient_waits"), (0, True, "recipient_waits")],
)
def test_a_queued_message_says_whether_it_waits_for_its_recipient_or_for_a_tick(
    unacked: int, recipient_waits: bool, code: str
) -> None:
    view = ChannelView(
        name="sales", state=C.UP, reason="", next_slot_at=NOON, failures=0, unacked=unacked, pacing=PACING
    )
    why = why_queued(view, recipient_waits=recipient_waits)
    assert why is not None
    assert why.code == code


@pytest.mark.parametrize(
    ("state", "attention", "code", "asks_a_person"),
    [
        (MessageState.IN_DOUBT, None, "in_doubt", False),
        (MessageState.IN_DOUBT, "in_doubt", "in_doubt", True),
        (MessageState.ACCEPTED, None, "awaiting_tick", False),
        (MessageState.ACCEPTED, "no_tick", "no_tick", True),
    ],
)
def test_a_person_is_asked_to_decide_when_nothing_else_can(
    state: MessageState, attention: str | None, code: str, asks_a_person: bool
) -> None:
    view = ChannelView(name="sales", state=C.UP, reason="", next_slot_at=NOON, failures=0, pacing=PACING)
    for swallowed in (False, True):
        message = Standing(id="0192", state=state, due_at=NOON, attention=attention, perhaps_swallowed=swallowed)
        why = pending_reason(message, view, NOON)
        assert why is not None
        assert (why.code, why.action is not None) == (code, asks_a_person)


def test_every_cause_has_one_rule_and_a_sentence_for_people() -> None:
    assert set(OUTCOME_RULES) == set(Cause)
    assert len({cause.value for cause in Cause}) == len(Cause)
    for cause, rule in OUTCOME_RULES.items():
        assert isinstance(rule.kind, OutcomeKind)
        assert isinstance(rule.channel_effect, ChannelEffect)
        assert rule.sentence.endswith(".")
        assert len(cause.value) <= 32, "it has to fit its column"


def test_only_what_is_proven_unsent_is_ever_put_back_by_itself() -> None:
    unproven = {Cause.TIMEOUT, Cause.CONNECTION_LOST, Cause.SERVER_ERROR, Cause.UNREADABLE_ANSWER, Cause.WORKER_LOST}
    assert {cause for cause, rule in OUTCOME_RULES.items() if rule.kind is OutcomeKind.UNKNOWN} == unproven
    blocking = {cause for cause, rule in OUTCOME_RULES.items() if rule.channel_effect is ChannelEffect.BLOCK}
    assert all(OUTCOME_RULES[cause].kind is OutcomeKind.NOT_SENT for cause in blocking)
