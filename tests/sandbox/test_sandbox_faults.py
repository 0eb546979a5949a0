"""Each fault over a real socket: what the client sees, and whether the message was accepted nevertheless."""

import time
from typing import Any

import pytest
from requests.exceptions import ChunkedEncodingError, ConnectionError, JSONDecodeError, ReadTimeout

from wasender_sandbox.control import Sandbox, SandboxError
from wasender_sandbox.faults import KINDS

#: Fault, options, HTTP status seen, a part of the body.
ANSWERS: list[tuple[str, dict[str, Any], int, str]] = [
    ("error", {}, 500, '{"success":false,"message":"Server Error"}'),
    ("error", {"status": 503}, 503, "Server Error"),
    ("html", {}, 520, "<html>"),
    ("html", {"status": 524}, 524, "Error code 524"),
    ("empty", {}, 200, ""),
    ("no_msg_id", {}, 200, '"success":true'),
    ("wrong_types", {}, 200, '"success":"yes"'),
    ("answer", {"status": 418, "body": '{"odd":1}'}, 418, '{"odd":1}'),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("kind", "options", "status", "body"), ANSWERS)
def test_broken_answers(
    sandbox: Sandbox, caller: Any, kind: str, options: dict[str, Any], status: int, body: str, when: str
) -> None:
    sandbox.fault(kind, when=when, count=1, **options)

    answer = caller.send("broken")

    assert answer.status_code == status
    assert body in answer.text
    [request] = sandbox.requests()
    assert request.answer == status
    assert request.accepted is (when == "after")
    assert len(sandbox.ledger()) == (1 if when == "after" else 0)
    assert request.reason == f"fault:{kind}"
    caller.accept("the next one is fine")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("kind", "error"), [("reset", "Connection reset"), ("close", "RemoteDisconnected")])
def test_broken_connections(sandbox: Sandbox, caller: Any, kind: str, error: str, when: str) -> None:
    sandbox.fault(kind, when=when, count=1)

    with pytest.raises(ConnectionError, match=error):
        caller.send("broken")

    [request] = sandbox.requests()
    assert request.answer == 0
    assert len(sandbox.ledger()) == (1 if when == "after" else 0)
    caller.accept("the next one is fine")


def test_a_body_can_break_in_the_middle(sandbox: Sandbox, caller: Any) -> None:
    sandbox.fault("truncated", count=1)

    with pytest.raises((ChunkedEncodingError, ConnectionError)):
        caller.send("broken")

    assert [entry.text for entry in sandbox.ledger()] == ["broken"]


def test_json_can_be_cut_off_in_a_complete_response(sandbox: Sandbox, caller: Any) -> None:
    sandbox.fault("bad_json", count=1)

    answer = caller.send("broken")

    assert answer.status_code == 200
    with pytest.raises(JSONDecodeError):
        answer.json()
    assert len(sandbox.ledger()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hanging_request_keeps_its_client_waiting(
    sandbox: Sandbox, caller: Any, eventually: Any, when: str
) -> None:
    sandbox.fault("hang", when=when, count=1)

    with pytest.raises(ReadTimeout):
        caller.call("POST", "/send-message", {"to": "+919876543210", "text": "broken"}, timeout=0.15)

    assert len(sandbox.ledger()) == (1 if when == "after" else 0)
    caller.session.close()
    eventually(lambda: sandbox.channel("sales")["in_flight"] == 0)


def test_a_hang_ends_after_its_time_without_an_answer(sandbox: Sandbox, caller: Any) -> None:
    sandbox.fault("hang", count=1, seconds=0.2)

    began = time.monotonic()
    with pytest.raises(ConnectionError):
        caller.send()

    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delay_adds_to_the_answer_and_spoils_nothing(sandbox: Sandbox, caller: Any, when: str) -> None:
    sandbox.fault("delay", when=when, count=1, seconds=0.15)

    caller.accept()

    [request], [entry] = sandbox.requests(), sandbox.ledger()
    assert request.answered_at is not None
    assert request.answered_at - request.arrived_at >= 0.15
    assert (entry.received_at - entry.request_at >= 0.15) is (when == "before")


def test_a_forced_429_is_no_violation_of_the_limit(sandbox: Sandbox, caller: Any) -> None:
    sandbox.fault("throttled", count=1, retry_after=3)

    answer = caller.send()

    assert (answer.status_code, answer.json()["retry_after"]) == (429, 3)
    assert sandbox.rate_violations() == 0
    assert sandbox.requests()[0].reason == "fault:throttled"


def test_a_single_spurious_refusal(sandbox: Sandbox, caller: Any) -> None:
    sandbox.fault("not_connected", count=1)

    assert caller.send().json()["success"] is False
    caller.accept()


def test_a_fault_can_be_kept_to_a_channel_a_recipient_or_a_text(sandbox: Sandbox, caller: Any) -> None:
    sandbox.create_channel("support", "support-key", limit="none")
    support = type(caller)(caller.api_url, "support-key")
    sandbox.fault("error", channel="support", recipient="+91 98765 43210", text="bad")

    assert support.send("bad", "919876543210").status_code == 500
    assert support.send("good", "919876543210").status_code == 200
    assert support.send("bad", "919876543211").status_code == 200
    assert caller.send("bad", "919876543210").status_code == 200


def test_faults_can_strike_by_chance_the_same_way_for_the_same_seed(sandbox: Sandbox, caller: Any) -> None:
    def codes() -> list[int]:
        sandbox.reset()
        sandbox.create_channel("sales", "sales-key", limit="none")
        sandbox.fault("error", probability=0.5)
        return [caller.send(f"n{n}").status_code for n in range(40)]

    first, second = codes(), codes()

    assert first == second
    assert 5 < first.count(500) < 35


def test_other_endpoints_have_faults_too(sandbox: Sandbox, caller: Any, account: Any) -> None:
    sandbox.fault("html", endpoint="status", count=1)
    sandbox.fault("empty", endpoint="message-logs", count=1)

    assert caller.get("/status").status_code == 520
    assert caller.get("/status").status_code == 200
    assert account.get("/whatsapp-sessions/501/message-logs").text == ""


def test_faults_are_listed_and_cleared(sandbox: Sandbox, caller: Any) -> None:
    kept = sandbox.fault("error")
    sandbox.fault("html")

    assert sandbox.clear_faults(kept) == 1
    assert [fault["kind"] for fault in sandbox.state()["faults"]] == ["html"]
    assert caller.send().status_code == 520
    assert sandbox.clear_faults() == 1
    caller.accept()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "lightning"}, "Known faults: delay, hang"),
        ({"kind": "error", "when": "sometime"}, "before or after"),
        ({"kind": "throttled", "when": "after"}, "strikes before"),
        ({"kind": "error", "count": 0}, "from 1 on"),
        ({"kind": "error", "probability": 1.5}, "up to 1"),
        ({"kind": "error", "status": 99}, "from 200 to 599"),
        ({"kind": "delay", "seconds": "soon"}, "is not a time"),
        ({"kind": "error", "channel": "nobody"}, "no channel named 'nobody'"),
    ],
)
def test_faults_that_make_no_sense_are_refused(sandbox: Sandbox, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SandboxError, match=sentence):
        sandbox.fault(**options)


def test_every_fault_says_what_it_does() -> None:
    assert all(kind.meaning and kind.usual in {"before", "after"} for kind in KINDS.values())
