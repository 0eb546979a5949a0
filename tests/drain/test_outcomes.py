"""What each answer of WaSender does to the message, to its channel, and to the messages behind it."""

import time
from collections.abc import Callable

from tests.drain.scene import WIDE, Crm, drain, number
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from wasender_sandbox.process import SandboxProcess
from worker.domain.channel_state import ChannelState
from worker.parts import Parts


def test_a_refusal_that_the_status_confirms_stops_the_channel_and_keeps_the_message(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.set_status("default", "logged_out")
    crm.enqueue([f"{index}" for index in range(30)])

    assert drain(parts) == 0

    assert (crm.channel().state, crm.channel().reason) == (ChannelState.DOWN, "logged_out")
    assert set(crm.states()) == {"queued"}
    assert len(sandbox.requests()) <= 4, "more than what was in flight tried its luck"
    sandbox.scan("default")
    crm.set_channel("default", state=ChannelState.UP, unacked_window=WIDE)
    drain(parts)
    assert sorted(crm.texts(), key=int) == [f"{index}" for index in range(30)]
    assert {row.attempts for row in crm.messages()} == {1}, "a refusal because of the channel counts as an attempt"


def test_a_refusal_that_the_status_denies_leaves_the_channel_up(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.fault("not_connected", count=1)
    crm.enqueue(["one", "two"], to=lambda _: number(1))

    drain(parts)

    assert crm.channel().state is ChannelState.UP
    assert crm.texts() == ["one", "two"]
    assert [row.reason for row in crm.events(1)] == ["", "", "channel_down", "", "accepted"]
    assert [row.attempts for row in crm.messages()] == [1, 1]


def test_a_throttled_channel_waits_as_long_as_it_was_told(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.fault("throttled", count=1, retry_after=2)
    crm.enqueue(["one"])

    drain(parts)

    refused, accepted = sandbox.requests()
    assert refused.answered_at is not None
    assert 2.0 <= accepted.arrived_at - refused.answered_at < 3.0
    assert crm.states() == ["accepted"]


def test_a_refused_key_blocks_the_channel_and_fails_no_message(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.enqueue(["one", "two"])

    assert drain(build(database_url, WASENDER_API_KEY="0b" * 32)) == 0

    assert (crm.channel().state, crm.channel().reason) == (ChannelState.BLOCKED, "bad_key")
    assert crm.states() == ["queued", "queued"]
    assert crm.texts() == []


def test_a_channel_without_a_key_is_blocked_and_the_others_go_on(
    crm: Crm, build: Callable[..., Parts], database_url: str
) -> None:
    crm.channels("sales")
    crm.enqueue(["nobody can send this"])
    crm.enqueue(["hello"], channel="sales")

    drain(build(database_url, WASENDER_API_KEY=None))

    assert (crm.channel().state, crm.channel().reason) == (ChannelState.BLOCKED, "no_api_key")
    assert crm.texts() == ["hello"]


def test_a_number_that_is_not_on_whatsapp_fails_at_once_with_its_reason(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.recipients(not_on_whatsapp=number(1))
    crm.enqueue(["one", "two", "three"])

    drain(parts)

    failed = crm.messages()[1]
    assert crm.states() == ["accepted", "failed", "accepted"]
    assert failed.error_code == "not_on_whatsapp"
    assert "not on WhatsApp" in failed.error_message
    assert len(sandbox.requests(to=number(1))) == 1
    assert crm.channel().state is ChannelState.UP


#: Each on a channel of its own: how the answer is spoilt, when (before or after the acceptance), the HTTP status.
NO_CLEAR_ANSWER = {
    "hangs-before": ("hang", "before", None),
    "hangs-after": ("hang", "after", None),
    "reset-before": ("reset", "before", None),
    "reset-after": ("reset", "after", None),
    "error-before": ("error", "before", 500),
    "error-after": ("error", "after", 503),
    "proxy-page": ("html", "before", 520),
    "nameless": ("no_msg_id", "after", None),
    "cut-off": ("truncated", "after", None),
}


def test_an_attempt_without_a_clear_answer_is_doubt_and_is_never_repeated(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.channels(*NO_CLEAR_ANSWER)
    for name, (kind, when, status) in NO_CLEAR_ANSWER.items():
        sandbox.fault(kind, when=when, status=status, channel=name, text="unlucky")
        crm.enqueue(["unlucky", "next"], channel=name)

    drain(build(database_url, TRUETICK_READ_TIMEOUT_S=0.3, TRUETICK_SENDER_THREADS=9))

    assert crm.states() == ["in_doubt", "accepted"] * len(NO_CLEAR_ANSWER)
    for name, (_, when, _) in NO_CLEAR_ANSWER.items():
        assert len(sandbox.requests(channel=name)) == 2, name
        assert crm.texts(channel=name) == (["unlucky"] if when == "after" else []) + ["next"], name
        assert crm.channel(name).state is ChannelState.UP


def test_after_trouble_a_question_goes_before_the_next_message(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.fault("error", text="unlucky", count=1)
    sandbox.fault("error", endpoint="status", count=1)
    crm.enqueue(["unlucky"])
    drain(parts)
    crm.enqueue(["next"], to=lambda _: number(1))
    drain(parts)

    assert len(sandbox.requests()) == 2, "a message was risked before WaSender had answered a question"
    assert [row.reason for row in crm.events(2)] == ["", "", "gateway_troubled", "", "accepted"]
    assert crm.states() == ["in_doubt", "accepted"]
    assert [row.attempts for row in crm.messages()] == [1, 1]


def test_messages_wait_in_the_queue_while_the_gateway_is_out_of_reach(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    with SandboxProcess() as gone:
        url, port = gone.api_url, int(gone.base_url.rpartition(":")[2])
    parts = build(database_url, WASENDER_BASE_URL=url, TRUETICK_DRAIN_RUN_S=0.5)
    crm.enqueue(["one", "two"], to=lambda _: number(1))

    began = time.monotonic()
    drain(parts)

    assert time.monotonic() - began < 3
    assert crm.states() == ["queued", "queued"]
    assert 1 <= len(unreached := [row for row in crm.events(1) if row.reason]) <= 2, "it did not back off"
    assert {row.reason for row in unreached} == {"gateway_unreachable"}
    assert [row.attempts for row in crm.messages()] == [0, 0], "nothing was sent, and yet an attempt counts"
    with SandboxProcess(port=port) as back:
        back.control.create_channel("default", api_key="5a" * 32, limit="none")
        wait_until(
            lambda: drain(parts) or len(back.control.ledger()) == 2, within_s=8, what="the sending after the outage"
        )
        assert [entry.text for entry in back.control.ledger()] == ["one", "two"]
    assert crm.channel().failures == 0
