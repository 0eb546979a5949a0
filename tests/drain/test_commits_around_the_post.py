"""What is committed before a POST and after it, and what becomes of a POST that outlives its run or its lease."""

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.drain.scene import Crm, drain, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker.drain import Drainer
from worker.parts import Parts
from worker.sweep import sweep


class Gate:
    """Holds every thread that comes to send until it is opened, as if the process were frozen there."""

    def __init__(self, parts: Parts, monkeypatch: Any, *, before: bool) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        real = parts.gateway.send

        def wait() -> None:
            self.reached.set()
            assert self.opened.wait(20)

        def send(*args: Any) -> Any:
            if before:
                wait()
            outcome = real(*args)
            if not before:
                wait()
            return outcome

        monkeypatch.setattr(parts.gateway, "send", send)


def test_sending_is_committed_before_the_post_arrives_and_the_outcome_after_it(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    sandbox.latency(before=0.6)
    crm.enqueue(["hello"])
    run = threading.Thread(target=drain, args=[build(database_url)])
    run.start()
    wait_until(sandbox.requests, within_s=3, what="the POST")

    assert crm.states() == ["sending"]
    assert crm.moves() == [(None, "queued"), ("queued", "sending")]
    assert crm.attempts() == []
    run.join()
    assert crm.moves()[2:] == [("sending", "accepted")]
    (attempt,) = crm.attempts()
    assert (attempt.outcome, attempt.gateway_msg_id) == ("accepted", sandbox.ledger()[0].msg_id)


def test_a_run_that_ends_while_a_post_hangs_keeps_its_lease_and_its_answer_and_others_go_on(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.channels("slow", "other")
    sandbox.fault("delay", channel="slow", seconds=2.5)
    crm.enqueue(["slow"], channel="slow")
    crm.enqueue(["other 1"], channel="other")
    parts = build(
        database_url,
        TRUETICK_READ_TIMEOUT_S=8,
        TRUETICK_LEASE_S=1,
        TRUETICK_DRAIN_RUN_S=0.4,
        TRUETICK_SENDER_THREADS=2,
    )
    with working(parts) as wake:
        wake()
        wait_until(lambda: crm.texts() == ["other 1"], within_s=3, what="the other channel's message")
        time.sleep(0.5)  # the run is over
        crm.enqueue(["other 2"], channel="other")
        wake()
        wait_until(lambda: len(crm.texts()) == 2, within_s=1, what="the next run's message")
        while not crm.texts(channel="slow"):
            assert sweep(parts).doubted == 0, "the lease ran out under the POST"
            time.sleep(0.05)
        wait_until(lambda: set(crm.states()) == {"accepted"}, within_s=2, what="the late answer's record")
    assert crm.channel("slow").lease_token is None


def test_a_stopping_process_waits_for_its_answers_and_sends_nothing_more(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    sandbox.latency(before=1.0)
    crm.enqueue([f"{index}" for index in range(30)])
    parts = build(database_url, TRUETICK_LEASE_S=1)
    with working(parts) as wake:
        wake()
        wait_until(sandbox.requests, within_s=3, what="the first POST")
        parts.stopping.set()

    posted = len(sandbox.requests())
    assert 1 <= posted <= 4
    assert sorted(crm.states()) == ["accepted"] * posted + ["queued"] * (30 - posted)
    assert crm.channel().lease_token is None


def test_a_frozen_worker_whose_lease_was_taken_does_not_post_when_it_wakes(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox, monkeypatch: Any
) -> None:
    parts = build(database_url, TRUETICK_LEASE_S=1, TRUETICK_SENDER_THREADS=1)
    gate = Gate(parts, monkeypatch, before=False)
    crm.channels("second")
    crm.enqueue(["one"])
    crm.enqueue(["two"], channel="second")
    frozen = threading.Thread(target=Drainer().drain, args=[parts, lambda: None])
    # The only sender thread stops in the first POST, with the second message claimed behind it.
    frozen.start()
    assert gate.reached.wait(5)
    wait_until(lambda: crm.states() == ["sending", "sending"], within_s=3, what="both claims")
    parts.stopping.set()
    for name in ("default", "second"):
        crm.lease_taken(name)
    assert sweep(build(database_url)).doubted == 2
    assert crm.states() == ["in_doubt", "in_doubt"]
    time.sleep(1.1)  # the lease would have run out, too
    gate.opened.set()
    frozen.join(10)

    first, second = ("one", "two") if crm.texts() == ["one"] else ("two", "one")
    assert crm.texts() == [first]
    assert len(sandbox.requests()) == 1, "it posted on a channel that is no longer its own"
    after = dict(zip(("one", "two"), crm.states(), strict=True))
    assert after == {first: "accepted", second: "queued"}, "late answers were lost"
    assert crm.channel().lease_token == "f" * 32, "it gave back another's lease"


def test_the_late_answer_of_a_worker_thought_lost_settles_the_doubt(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox, monkeypatch: Any
) -> None:
    parts = build(database_url)
    gate = Gate(parts, monkeypatch, before=False)
    crm.enqueue(["hello"])
    frozen = threading.Thread(target=drain, args=[parts])
    frozen.start()
    assert gate.reached.wait(5)
    crm.lease_taken()
    assert sweep(build(database_url)).doubted == 1
    gate.opened.set()
    frozen.join(10)

    assert crm.states() == ["accepted"]
    assert crm.moves()[1:] == [("queued", "sending"), ("sending", "in_doubt"), ("in_doubt", "accepted")]
    (attempt,) = crm.attempts()
    assert (attempt.cause, attempt.gateway_msg_id) == ("accepted", sandbox.ledger()[0].msg_id)
