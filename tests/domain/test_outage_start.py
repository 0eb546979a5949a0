"""When an outage began, by the session's own log: the last time it left `connected` before anybody noticed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.account import SessionEvent
from worker.domain.outage_start import began_from_session_logs

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def log(*rows: tuple[float, str]) -> list[SessionEvent]:
    """Rows of (minutes after noon, status), oldest first."""
    return [
        SessionEvent(id=number, event_type="status_change", status=status, occurred_at=at(minutes))
        for number, (minutes, status) in enumerate(rows, start=1)
    ]


def began(
    rows: list[SessionEvent], noticed: float = 60, skew_s: float | None = 0.0, good: float | None = 0
) -> datetime | None:
    return began_from_session_logs(
        rows, noticed_at=at(noticed), skew_s=skew_s, last_good_at=None if good is None else at(good)
    )


def test_it_began_when_the_session_left_connected() -> None:
    rows = log((-90, "connected"), (10, "connecting"), (12, "disconnected"), (15, "need_scan"))
    assert began(rows) == at(10)


def test_of_several_times_it_left_the_last_one_counts() -> None:
    rows = log((-90, "connected"), (10, "connecting"), (11, "connected"), (30, "need_scan"))
    assert began(rows) == at(30)


def test_a_session_that_came_back_and_stayed_mute_has_been_gone_since_it_left() -> None:
    assert began(log((-90, "connected"), (10, "connecting"), (11, "connected"))) == at(10)


def test_what_happened_after_the_notice_does_not_count() -> None:
    rows = log((-90, "connected"), (10, "need_scan"), (70, "connected"), (80, "logged_out"))
    assert began(rows) == at(10)


def test_a_session_that_never_left_tells_nothing() -> None:
    assert began(log((-90, "connected"))) is None
    assert began([]) is None
    assert began(log((-90, "disconnected"), (-80, "need_scan"), (-70, "connected")), good=None) is None


def test_leaving_before_the_last_proof_of_life_does_not_count_when_it_was_back_by_then() -> None:
    rows = log((-90, "connected"), (-30, "connecting"), (-20, "connected"))
    assert began(rows, good=0) is None


def test_it_never_began_before_the_last_proof_of_life() -> None:
    assert began(log((-90, "connected"), (-5, "need_scan")), good=0) == at(0)


def test_a_log_that_begins_in_the_outage_tells_when_it_began_at_the_latest() -> None:
    assert began(log((10, "connecting"), (12, "need_scan"))) == at(10)


def test_times_are_ours_however_wrong_the_gateways_clock_is() -> None:
    rows = log((-90, "connected"), (10, "need_scan"))
    assert began(rows, noticed=20, skew_s=-7 * 60) == at(17)
    assert began(rows, noticed=20, skew_s=7 * 60) == at(3)
    assert began(rows, skew_s=None) is None, "times that cannot be compared say nothing"


def test_a_second_of_clock_error_does_not_hide_what_was_noticed_at_once() -> None:
    assert began(log((-90, "connected"), (10 + 1 / 60, "need_scan")), noticed=10) == at(10)


def test_rows_about_other_things_are_passed_over() -> None:
    rows = log((-90, "connected"), (10, "need_scan"), (11, "failed"), (12, ""), (13, "session_backed_up"))
    assert began(rows) == at(10)


@pytest.mark.parametrize("turned", [False, True])
def test_two_rows_of_one_moment_are_told_apart_by_their_ids(turned: bool) -> None:
    rows = log((-90, "connected"), (10, "connecting"), (10, "connected"), (10, "need_scan"))
    assert began(rows[::-1] if turned else rows) == at(10)


WORDS = st.sampled_from(["connected", "connecting", "need_scan", "logged_out", "failed", ""])
LOGS = st.lists(st.tuples(st.integers(-200, 200), WORDS), max_size=12).map(lambda rows: log(*rows))


@given(LOGS, st.integers(-100, 100), st.none() | st.integers(-100, 100), st.integers(-600, 600), st.randoms())
def test_the_order_of_rows_does_not_matter_and_the_bounds_hold(
    rows: list[SessionEvent], noticed: int, good: int | None, skew_s: int, random: object
) -> None:
    good = good if good is None else min(good, noticed)
    found = began(rows, noticed, skew_s, good)
    shuffled = rows.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert began(shuffled, noticed, skew_s, good) == found
    if found is not None:
        assert found <= at(noticed)
        assert good is None or found >= at(good)
        assert any(row.status not in ("connected", "failed", "") for row in rows)
