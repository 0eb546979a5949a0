"""Send limits: exact windows, 429 bodies and headers, daily cap, concurrency, and what the records say."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wasender_sandbox.control import Sandbox
from wasender_sandbox.errors import ControlError
from wasender_sandbox.throttle import DailyCap, Limit, Throttle


def test_a_fixed_window_opens_with_the_first_request_and_refused_ones_do_not_count() -> None:
    throttle = Throttle(Limit(2, 10))

    assert [throttle.take(now) for now in (100, 104, 105, 109.5)] == [0, 0, 5, 0.5]
    assert throttle.take(110) == 0, "the window is over exactly ten seconds after it opened"
    assert throttle.remaining(111) == 1
    assert throttle.reset_s(111) == 9


def test_a_sliding_window_never_holds_more_than_the_limit() -> None:
    throttle = Throttle(Limit(2, 10), "sliding")

    assert [throttle.take(now) for now in (100, 109, 110, 111)] == [0, 0, 0, 8]


def test_spacing_keeps_a_minimum_gap() -> None:
    throttle = Throttle(Limit(2, 10), "spacing")

    assert [throttle.take(now) for now in (100, 104, 105, 109)] == [0, 1, 0, 1]


def test_a_slot_can_be_given_back() -> None:
    throttle = Throttle(Limit(1, 10))
    throttle.take(100)
    throttle.give_back()

    assert throttle.take(101) == 0


def test_a_daily_cap_starts_again_at_midnight_utc() -> None:
    cap = DailyCap(2)

    assert [cap.take(86400 * 5 + hour * 3600) for hour in (1, 2, 3)] == [True, True, False]
    assert cap.take(86400 * 6) is True


@pytest.mark.parametrize("text", ["5", "0/5", "1/0", "x/y", "1/5/2"])
def test_limits_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ControlError, match="not a limit"):
        Limit.parse(text)


def test_account_protection_allows_one_message_every_few_seconds(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", limit="1/5")

    caller.accept("first")
    answer = caller.send("second")

    assert answer.status_code == 429
    assert "success" not in answer.json()
    assert answer.json() == {
        "message": "You have account protection enabled. You can only send 1 message every 5 seconds.",
        "retry_after": 5,
    }
    assert sandbox.rate_violations("sales") == 1
    assert [request.reason for request in sandbox.requests()] == ["", "throttle"]


def test_retry_after_is_what_remains_of_the_window_and_then_it_is_free(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", limit="1/1.2")
    caller.accept("first")
    assert caller.send("at once").json()["retry_after"] == 2

    opened = sandbox.requests()[0].arrived_at
    time.sleep(max(opened + 0.3 - time.time(), 0))
    assert caller.send("a bit later").json()["retry_after"] == 1, "remaining, not nominal"
    time.sleep(max(opened + 1.2 - time.time(), 0) + 0.01)
    caller.accept("when it is over")

    accepted = [request.arrived_at for request in sandbox.requests(decision="accepted")]
    assert accepted[1] - accepted[0] >= 1.2
    assert sandbox.rate_violations() == 2


def test_the_window_counts_exactly_and_parallel_sends_cannot_slip_through(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", limit="10/60")
    sandbox.switch("concurrency_limit", 0)

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda n: caller.send(f"n{n}").status_code, range(30)))

    assert codes.count(200) == 10
    assert codes.count(429) == 20
    assert sandbox.rate_violations() == 20
    pace = sandbox.verdict()["channels"]["sales"]
    assert (pace["attempts"], pace["busiest_window"]) == (30, 30)


def test_each_channel_has_its_own_window_unless_the_account_shares_one(sandbox: Sandbox, caller: Any) -> None:
    sandbox.create_channel("support", "support-key", limit="1/60")
    sandbox.change_channel("sales", limit="1/60")
    other = type(caller)(caller.api_url, "support-key")

    assert [caller.send().status_code, other.send().status_code] == [200, 200]

    sandbox.switch("rate_scope", "account")
    assert [caller.send().status_code, other.send().status_code] == [200, 429]


def test_refused_requests_use_up_the_rate_unless_switched(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", limit="1/60")
    assert [caller.send(to="0000000000").status_code, caller.send().status_code] == [422, 429]

    sandbox.change_channel("sales", limit="1/60")
    sandbox.switch("refusals_consume_rate", False)
    assert [caller.send(to="0000000000").status_code, caller.send().status_code] == [422, 200]


def test_the_session_can_be_checked_before_the_throttle(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", limit="1/60")
    sandbox.set_status("sales", "down")
    assert [caller.send().status_code, caller.send().status_code] == [200, 429]

    sandbox.switch("check_order", "session_first")
    assert [caller.send().status_code, caller.send().status_code] == [200, 200]


@pytest.mark.parametrize(
    ("plan", "limit", "text"),
    [
        ("trial", "1/60", "You are on a free trial. You can only send 1 message every 1 minute."),
        ("paid", "2/60", "Too Many Attempts."),
    ],
)
def test_the_wording_follows_the_plan(sandbox: Sandbox, caller: Any, plan: str, limit: str, text: str) -> None:
    sandbox.change_channel("sales", limit=limit, plan=plan)

    answers = [caller.send() for _ in range(3)]

    assert answers[-1].json() == {"message": text, "retry_after": 60}


@pytest.mark.parametrize(
    ("how", "expected"), [("nominal", {"retry_after": 60}), ("camel_case", {"retryAfter": 60}), ("absent", {})]
)
def test_retry_after_has_other_spellings(sandbox: Sandbox, caller: Any, how: str, expected: dict[str, int]) -> None:
    sandbox.change_channel("sales", limit="1/60")
    sandbox.switch("retry_after", how)
    sandbox.switch("retry_after_header", True)
    caller.accept()

    answer = caller.send()

    assert answer.json() == {"message": answer.json()["message"], **expected}
    assert answer.headers["Retry-After"] == "60"


def test_rate_headers_tell_the_reset_as_seconds_or_as_unix_time(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", limit="5/60", daily_cap=50)

    headers = caller.send().headers
    assert headers["X-RateLimit-Limit"] == "5"
    assert headers["X-RateLimit-Remaining"] == "4"
    assert headers["X-RateLimit-Reset"] == "60"
    assert headers["X-RateLimit-Daily-Limit"] == "50"
    assert headers["X-RateLimit-Daily-Remaining"] == "49"
    assert 0 < int(headers["X-RateLimit-Daily-Reset"]) <= 86400

    sandbox.switch("rate_reset", "epoch")
    assert 0 <= int(caller.send().headers["X-RateLimit-Reset"]) - time.time() <= 61


def test_rate_headers_can_be_left_out(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", limit="1/60")
    sandbox.switch("rate_headers", "limited_only")
    assert "X-RateLimit-Limit" not in caller.send().headers
    assert caller.send().headers["X-RateLimit-Remaining"] == "0"

    sandbox.switch("rate_headers", "off")
    assert "X-RateLimit-Limit" not in caller.send().headers


def test_the_daily_cap_holds_until_midnight(sandbox: Sandbox, caller: Any) -> None:
    sandbox.change_channel("sales", daily_cap=2)
    caller.accept("one")
    caller.accept("two")

    answer = caller.send("three")

    assert answer.status_code == 429
    assert "success" not in answer.json()
    assert abs(answer.json()["retry_after"] - (86400 - time.time() % 86400)) < 5
    assert sandbox.requests()[-1].reason == "daily_cap"
    assert sandbox.rate_violations() == 0, "the cap has a word of its own"


def test_more_than_five_requests_in_flight_are_refused(sandbox: Sandbox, caller: Any) -> None:
    sandbox.latency(before=0.4)

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda n: type(caller)(caller.api_url).send(f"n{n}").status_code, range(8)))

    assert sorted(codes) == [200] * 5 + [429] * 3
    assert len(sandbox.requests(reason="concurrency")) == 3
    assert sandbox.channel("sales")["max_in_flight"] == 8
