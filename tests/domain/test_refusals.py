"""Refusals that do not count as attempts: which of them are held against their message."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.domain.refusals import KNOWN_TO_BE_ITS_OWN, MOST_REFUSALS, Refusals

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("ticked_through", "count"),
    [(None, 1), (at(-5), 1), (at(0), 1), (at(5), 2)],
    ids=["none", "before", "with", "after"],
)
def test_only_a_ticked_message_that_was_taken_after_the_refusal_before_counts(
    ticked_through: datetime | None, count: int
) -> None:
    first = Refusals().after_another(NOON, ticked_through=at(-60))
    assert (first.count, first.refused_at) == (1, NOON)

    second = first.after_another(at(10), ticked_through=ticked_through)

    assert (second.count, second.refused_at) == (count, at(10) if count == 2 else NOON)
    assert second.retry_at is not None
    assert second.retry_at > at(10)
    assert (second.count >= KNOWN_TO_BE_ITS_OWN) is (count == 2)


def test_a_message_is_given_up_that_was_refused_often_enough_while_others_were_taken() -> None:
    refusals = Refusals()
    for index in range(MOST_REFUSALS):
        assert not refusals.is_given_up
        refusals = refusals.after_another(at(60 * index), ticked_through=at(60 * index - 1))
    assert refusals.is_given_up
