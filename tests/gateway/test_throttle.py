"""How long to wait, read from an answer: every spelling, and moments by the gateway's own clock."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.gateway.throttle import LONGEST_WAIT_S, read_wait_s

NOW = 1_790_000_000.0
OFF_BY_S = [-7_200, -180, 0, 180, 7_200]


def date(at: float) -> str:
    return formatdate(at, usegmt=True)


@pytest.mark.parametrize("off_by_s", OFF_BY_S)
@pytest.mark.parametrize("name", ["x-ratelimit-reset", "retry-after"])
def test_a_moment_is_read_by_the_clock_of_the_gateway_that_named_it(off_by_s: int, name: str) -> None:
    theirs = NOW + off_by_s
    moment = date(theirs + 42) if name == "retry-after" else str(int(theirs + 42))
    assert read_wait_s({}, {"date": date(theirs), name: moment}, NOW) == 42


@pytest.mark.parametrize("off_by_s", OFF_BY_S)
def test_the_end_of_the_day_too(off_by_s: int) -> None:
    theirs = NOW + off_by_s
    headers = {
        "date": date(theirs),
        "x-ratelimit-daily-remaining": "0",
        "x-ratelimit-daily-reset": str(int(theirs + 9_000)),
    }
    assert read_wait_s({"retry_after": 60}, headers, NOW) == 9_000


@pytest.mark.parametrize("off_by_s", OFF_BY_S)
def test_seconds_to_go_need_no_clock(off_by_s: int) -> None:
    headers = {"date": date(NOW + off_by_s), "x-ratelimit-reset": "30"}
    assert read_wait_s({}, headers, NOW) == 30
    assert read_wait_s({"retry_after": 3}, headers, NOW) == 3
    assert read_wait_s({}, headers | {"retry-after": "7"}, NOW) == 7


@pytest.mark.parametrize("told", [None, "", "yesterday", "Mon, 99 Foo 2026 99:99:99 GMT"])
def test_without_a_date_that_can_be_read_our_own_clock_has_to_do(told: str | None) -> None:
    headers = {"x-ratelimit-reset": str(int(NOW + 20))} | ({} if told is None else {"date": told})
    assert read_wait_s({}, headers, NOW) == 20


def test_a_reset_that_is_nearly_there_is_a_moment_and_not_a_number_of_seconds() -> None:
    assert read_wait_s({}, {"x-ratelimit-reset": str(int(NOW + 2))}, NOW) == 2
    assert read_wait_s({}, {"x-ratelimit-reset": str(int(NOW - 2))}, NOW) == 0


def test_the_bodys_word_goes_before_the_headers() -> None:
    headers = {"retry-after": "20", "x-ratelimit-reset": "30"}
    assert read_wait_s({"retry_after": 10}, headers, NOW) == 10
    assert read_wait_s({"retryAfter": 11}, headers, NOW) == 11
    assert read_wait_s({"retry_after": "soon"}, headers, NOW) == 20
    assert read_wait_s({}, {"x-ratelimit-limit": "1"}, NOW) is None


words = st.text(max_size=30) | st.integers(-(10**20), 10**20).map(str) | st.floats().map(str)
names = st.sampled_from(
    ["date", "retry-after", "x-ratelimit-reset", "x-ratelimit-daily-remaining", "x-ratelimit-daily-reset"]
)


@given(headers=st.dictionaries(names, words), told=words | st.integers() | st.none(), now=st.floats(0, 4e9))
def test_whatever_an_answer_says_the_wait_is_bounded(headers: dict[str, str], told: object, now: float) -> None:
    wait_s = read_wait_s({"retry_after": told}, headers, now)
    assert wait_s is None or 0 <= wait_s <= LONGEST_WAIT_S
