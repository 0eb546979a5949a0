"""Which message a belief is about, and whether it is true: the rules alone, without a database."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.audit.belief import Belief
from worker.audit.judging import Claimed, Finding, Judgement, judge_likely, judge_named
from worker.domain.message_status import MessageState
from worker.outbox.ledger import Entry
from worker.table_file import Row

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
ALICE, BOB = "+917033000001", "+917033000002"
_seqs = count(1)


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


def entry(state: str, *, at: datetime = NOON, gone_after: timedelta = timedelta(), **more: Any) -> Entry:
    values = {"crm_ref": None, "recipient": ALICE, "text_digest": "hello", "error_code": None} | more
    return Entry(
        seq=next(_seqs), id=uuid4(), state=MessageState(state), created_at=at, gone_at=at + gone_after, **values
    )


def belief(status: str, *, at: datetime | None = NOON, **more: Any) -> Belief:
    values = {"message_id": None, "crm_ref": None, "recipient": ALICE, "text_digest": "hello"} | more
    return Belief(row=Row(number=1, line=2, cells={}), status=status, at=at, **values)


def likely(one: Belief, *entries: Entry, coarse: bool = False) -> Judgement:
    return judge_likely(one, entries, Claimed(), DAY, is_coarse=coarse)


@pytest.mark.parametrize(
    ("believed", "state", "finding", "detail"),
    [
        ("sent", "sent", Finding.AGREES, ""),
        ("pending", "accepted", Finding.AGREES, ""),
        ("failed", "failed", Finding.AGREES, ""),
        ("sent", "accepted", Finding.FALSE_SENT, "accepted"),
        ("sent", "in_doubt", Finding.FALSE_SENT, "in_doubt"),
        ("delivered", "queued", Finding.FALSE_SENT, "queued"),
        ("read", "failed", Finding.FALSE_SENT, "failed"),
        ("sent", "expired", Finding.FALSE_SENT, "expired"),
        ("sent", "cancelled", Finding.FALSE_SENT, "cancelled"),
        ("sent", "delivered", Finding.CONTRADICTED, "further"),
        ("pending", "read", Finding.CONTRADICTED, "further"),
        ("read", "delivered", Finding.CONTRADICTED, "other"),
        ("failed", "sent", Finding.CONTRADICTED, "other"),
        ("pending", "failed", Finding.CONTRADICTED, "other"),
        ("failed", "queued", Finding.CONTRADICTED, "other"),
    ],
)
def test_a_belief_is_held_against_the_ledger(believed: str, state: str, finding: Finding, detail: str) -> None:
    for judgement in (
        likely(belief(believed), entry(state)),
        judge_named(belief(believed), [entry(state)], is_coarse=False),
    ):
        assert (judgement.finding, judgement.detail) == (finding, detail)


def test_a_coarse_crm_means_any_tick_by_sent_and_nothing_less() -> None:
    assert likely(belief("sent"), entry("read"), coarse=True).finding is Finding.AGREES
    assert likely(belief("sent"), entry("accepted"), coarse=True).finding is Finding.FALSE_SENT
    assert likely(belief("pending"), entry("read"), coarse=True).finding is Finding.CONTRADICTED


@pytest.mark.parametrize(
    "other",
    [{"recipient": BOB}, {"text_digest": "bye"}, {"at": NOON + hours(25)}, {"at": NOON - hours(25)}],
)
def test_another_message_is_not_taken_for_this_one(other: dict[str, Any]) -> None:
    assert likely(belief("sent"), entry("sent", **other)).finding is Finding.MISSING


def test_the_crms_time_may_be_any_in_which_the_message_was_under_way() -> None:
    waited = entry("sent", at=NOON - hours(72), gone_after=hours(60))
    assert likely(belief("sent"), waited).finding is Finding.AGREES


def test_without_a_text_or_time_the_number_has_to_do() -> None:
    assert likely(belief("sent", at=None, text_digest=None), entry("sent")).finding is Finding.AGREES
    assert likely(belief("sent"), entry("sent", text_digest=None)).finding is Finding.AGREES


def test_of_several_the_one_that_is_clearly_nearest_is_meant() -> None:
    near, far = entry("sent", at=NOON + hours(1)), entry("failed", at=NOON - hours(3))
    assert likely(belief("sent"), far, near) == Judgement(finding=Finding.AGREES, entry=near)


def test_where_several_fit_alike_and_differ_nobody_can_tell() -> None:
    pair = entry("sent", at=NOON + hours(2)), entry("failed", at=NOON - hours(3))
    assert likely(belief("sent"), *pair).finding is Finding.AMBIGUOUS
    assert likely(belief("sent", at=None), *pair).finding is Finding.AMBIGUOUS
    same = entry("failed", at=NOON + hours(2)), entry("failed", at=NOON - hours(3))
    assert likely(belief("sent"), *same).finding is Finding.FALSE_SENT


def test_two_rows_cannot_both_be_about_one_message() -> None:
    claimed = Claimed()
    only = entry("sent")
    claimed.add(only.seq)
    again = judge_likely(belief("sent"), [only], claimed, DAY, is_coarse=False)
    assert (again.finding, again.detail) == (Finding.MISSING, "told_twice")


@pytest.mark.parametrize(
    ("other", "detail"), [({"recipient": BOB}, "other_recipient"), ({"text_digest": "bye"}, "other_text")]
)
def test_a_message_of_that_name_that_is_another_one_contradicts(other: dict[str, Any], detail: str) -> None:
    judgement = judge_named(belief("sent"), [entry("sent", **other)], is_coarse=False)
    assert (judgement.finding, judgement.detail) == (Finding.CONTRADICTED, detail)


def test_a_reference_of_many_messages_means_the_one_that_fits() -> None:
    meant = entry("read", at=NOON + hours(70))
    others = entry("failed", recipient=BOB), entry("failed", text_digest="bye")
    assert judge_named(belief("read"), [*others, meant], is_coarse=False).entry is meant


@given(seqs=st.lists(st.integers(1, 2**40), max_size=40), asked=st.integers(1, 2**40))
def test_what_is_claimed_is_known_and_nothing_else(seqs: list[int], asked: int) -> None:
    claimed = Claimed()
    for seq in seqs:
        claimed.add(seq)
    assert all(seq in claimed for seq in seqs)
    assert (asked in claimed) is (asked in seqs)
