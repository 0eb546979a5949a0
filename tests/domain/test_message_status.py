"""Message statuses: exactly the design's moves, and ticks that only go forward."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.legal_moves import LEGAL_MOVES, STATES
from worker.domain.errors import IllegalTransition
from worker.domain.evidence import Ack
from worker.domain.message_status import (
    PENDING_STATES,
    PUBLIC_STATUS,
    TICKED_STATES,
    TRANSITIONS,
    MessageState,
    check_transition,
    state_after_ack,
)

FARTHEST = {Ack.SERVER: "sent", Ack.DEVICE: "delivered", Ack.READ: "read", Ack.PLAYED: "read"}
RANK = {"sent": 1, "delivered": 2, "read": 3}
states = st.sampled_from(MessageState)
acks = st.sampled_from(Ack)


def after(state: MessageState, ack: Ack) -> MessageState:
    return state_after_ack(state, ack) or state


def test_the_statuses_are_the_designs() -> None:
    assert [state.value for state in MessageState] == list(STATES)
    assert set(TRANSITIONS) == set(MessageState)


@pytest.mark.parametrize(("before", "then"), list(product(MessageState, MessageState)))
def test_a_move_is_legal_if_and_only_if_the_design_says_so(before: MessageState, then: MessageState) -> None:
    """To stay is no move, but news about a message may be told of it: that a person is asked, say."""
    if (before.value, then.value) in LEGAL_MOVES or before is then:
        check_transition(before, then)
    else:
        with pytest.raises(IllegalTransition) as caught:
            check_transition(before, then)
        assert before.value in caught.value.message
        assert then.value in caught.value.message


def test_the_crm_sees_pending_until_the_matter_is_settled() -> None:
    pending = {"queued", "sending", "accepted", "in_doubt"}
    assert {state.value for state in PENDING_STATES} == pending
    assert {state.value: seen for state, seen in PUBLIC_STATUS.items()} == {
        state: "pending" if state in pending else state for state in STATES
    }


def test_a_tick_overrides_everything_but_a_withdrawal() -> None:
    for state, (ack, reached) in product(MessageState, FARTHEST.items()):
        expected = None if state == "cancelled" or RANK.get(state, 0) >= RANK[reached] else reached
        assert state_after_ack(state, ack) == expected


def test_an_error_fails_only_what_is_on_its_way_and_pending_is_no_news() -> None:
    for state in MessageState:
        on_its_way = state in {"sending", "accepted", "in_doubt"}
        assert state_after_ack(state, Ack.ERROR) == ("failed" if on_its_way else None)
        assert state_after_ack(state, Ack.PENDING) is None


@given(start=states, order=st.lists(acks, max_size=8))
def test_ticks_only_move_forward_and_every_move_is_legal(start: MessageState, order: list[Ack]) -> None:
    state = start
    for ack in order:
        moved = state_after_ack(state, ack)
        if moved is not None:
            check_transition(state, moved)
            assert RANK.get(state, 0) <= RANK.get(moved, 0)
            state = moved


@given(start=st.sampled_from(["accepted", "sending", "in_doubt", "queued", "failed", "expired"]), data=st.data())
def test_any_order_of_acknowledgements_ends_at_the_farthest_tick(start: str, data: st.DataObject) -> None:
    order = data.draw(st.lists(acks, min_size=1, max_size=8))
    shuffled = data.draw(st.permutations(order))
    ends = set()
    for acknowledgements in (order, shuffled):
        state = MessageState(start)
        for ack in acknowledgements:
            state = after(state, ack)
        ends.add(state)
    reached = [FARTHEST[ack] for ack in order if ack in FARTHEST]
    if reached:
        assert ends == {max(reached, key=RANK.__getitem__)}
        assert ends <= set(TICKED_STATES)


@given(order=st.lists(acks, max_size=10))
def test_a_withdrawn_or_read_message_stays_so(order: list[Ack]) -> None:
    for final in (MessageState.CANCELLED, MessageState.READ):
        assert all(state_after_ack(final, ack) is None for ack in order)
