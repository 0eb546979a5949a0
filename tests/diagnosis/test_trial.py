"""A test message is followed to WhatsApp's tick, and tells where it stands when there is none."""

import threading
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from tests.conftest import API_KEY
from tests.drain.scene import Crm, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import evidence, health
from worker.diagnosis import trial
from worker.diagnosis.stages import Stage
from worker.domain.errors import Conflict, InvalidNumber, NotFound
from worker.outbox.events import Source
from worker.parts import Parts

TO = "917033009600"
ORDER = ["understood", "stored", "claimed", "accepted", "ticked", "delivered"]


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    sandbox.switch("ack_after_s", 0.1)
    sandbox.switch("delivered_after_s", 0.2)
    return build(database_url, TRUETICK_RECONCILE_INTERVAL_S=0.2, TRUETICK_DRAIN_RUN_S=0.5)


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    crm = Crm(parts, sandbox)
    crm.channels("default")
    health.check_channels(parts)
    return crm


@pytest.fixture
def at_work(crm: Crm) -> Iterator[Callable[[], None]]:
    """A worker that sends when it is woken, and asks about ticks all the time."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.1):
            evidence.reconcile_messages(crm.parts)

    asking = threading.Thread(target=ask)
    with working(crm.parts) as wake:
        asking.start()
        yield wake
        ended.set()
        crm.parts.stopping.set()
        asking.join(20)


def begin(parts: Parts, to: str = TO, **options: object) -> UUID:
    return trial.begin(parts, to, source=Source.API, **options)  # type: ignore[arg-type]


def reached(stages: tuple[Stage, ...]) -> list[str]:
    return [stage.name for stage in stages if stage.reached]


def test_it_is_proven_by_the_tick_and_each_stage_has_its_time(
    crm: Crm, sandbox: Sandbox, at_work: Callable[[], None]
) -> None:
    seen: list[list[str]] = []
    message_id = begin(crm.parts)
    at_work()

    report = trial.follow(crm.parts, message_id, timeout_s=15, on_stage=lambda stages: seen.append(reached(stages)))

    assert report.proven
    assert (report.status, report.stands_at) == ("delivered", "delivered")
    assert reached(report.stages) == ORDER
    times = [stage.at for stage in report.stages]
    assert times == sorted(times)  # type: ignore[type-var]
    assert seen[0][:2] == ["understood", "stored"]
    assert seen[-1] == ORDER
    [entry] = sandbox.ledger()
    assert (entry.recipient, entry.text) == ("+917033009600", trial.TEXT)


def test_a_mute_session_leaves_it_at_accepted_and_unproven(
    crm: Crm, sandbox: Sandbox, at_work: Callable[[], None]
) -> None:
    sandbox.mute("default")
    message_id = begin(crm.parts)
    at_work()

    report = trial.follow(crm.parts, message_id, timeout_s=2)

    assert not report.proven
    assert report.stands_at == "accepted"
    assert "WhatsApp has not ticked it" in report.because[0]
    assert "phone" in (report.action or "")
    assert report.whose_turn == "whatsapp"


def test_a_channel_that_is_down_is_not_waited_for_in_vain(crm: Crm, sandbox: Sandbox) -> None:
    sandbox.set_status("default", "need_scan")
    crm.set_channel("default", check_due_at=crm.parts.clock())
    health.check_channels(crm.parts)
    begun = time.monotonic()

    report = trial.follow(crm.parts, begin(crm.parts), timeout_s=30)

    assert time.monotonic() - begun < 8
    assert (report.proven, report.stands_at, report.whose_turn) == (False, "stored", "person")
    assert "need_scan" in report.because[0]
    assert "QR code" in (report.action or "")
    assert "expires at" in report.because[-1]
    [message] = crm.messages()
    assert message.expires_at - message.created_at == trial.EXPIRES_AFTER


def test_a_number_without_whatsapp_ends_it_at_once(crm: Crm, sandbox: Sandbox, at_work: Callable[[], None]) -> None:
    sandbox.recipients(not_on_whatsapp=TO)
    message_id = begin(crm.parts)
    at_work()

    report = trial.follow(crm.parts, message_id, timeout_s=20)

    assert (report.proven, report.status) == (False, "failed")
    assert "not on WhatsApp" in " ".join(report.because)


def test_without_a_worker_it_says_what_it_waits_for(crm: Crm) -> None:
    report = trial.follow(crm.parts, begin(crm.parts), timeout_s=1)

    assert (report.proven, report.stands_at) == (False, "stored")
    assert "truetick check" in (report.action or "")


def test_no_connection_is_held_between_two_looks(crm: Crm) -> None:
    message_id = begin(crm.parts)
    pool = crm.parts.engine.pool
    followed = threading.Thread(target=trial.follow, args=(crm.parts, message_id), kwargs={"timeout_s": 2})
    followed.start()
    idle = 0
    while followed.is_alive():
        idle += pool.checkedout() == 0  # type: ignore[attr-defined]
        time.sleep(0.01)
    followed.join()
    assert idle > 50, "of two hundred looks at the pool most find nothing in use"


def test_the_same_key_sends_once_and_another_text_under_it_is_refused(crm: Crm) -> None:
    first = begin(crm.parts, idempotency_key="monday")

    assert begin(crm.parts, "+91 70330 09600", idempotency_key="monday") == first
    with pytest.raises(Conflict):
        begin(crm.parts, idempotency_key="monday", text="another")
    assert begin(crm.parts, idempotency_key="tuesday") != first
    assert len(crm.messages()) == 2


def test_twenty_at_once_with_one_key_make_one_message(crm: Crm) -> None:
    ids: list[UUID] = []
    problems: list[Exception] = []

    def ask() -> None:
        try:
            ids.append(begin(crm.parts, idempotency_key="at once"))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(ids) + len(problems) == 20, within_s=20, what="all answers")
    assert problems == []
    assert len(set(ids)) == 1
    assert len(crm.messages()) == 1


def test_what_cannot_be_sent_is_refused_before_anything_is_stored(crm: Crm) -> None:
    with pytest.raises(InvalidNumber):
        begin(crm.parts, "12")
    with pytest.raises(NotFound):
        begin(crm.parts, channel="nowhere")
    assert crm.messages() == []
