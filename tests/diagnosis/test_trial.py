"""A test message is followed to WhatsApp's tick, and tells where it stands when there is none."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import event

from tests.conftest import API_KEY
from tests.drain.scene import Crm, working
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import evidence, health
from worker.diagnosis import trial
from worker.diagnosis.stages import Stage
from worker.domain.errors import Conflict, InvalidNumber, InvalidRequest, NotFound
from worker.outbox.events import Source
from worker.parts import Parts

TO = "917033009600"
ORDER = ["understood", "stored", "claimed", "accepted", "ticked", "delivered"]


#: For what a database could do differently; elsewhere one is enough.
BOTH = pytest.mark.parametrize("url", ["sqlite_url", "postgres_url"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(getattr(request, "param", "sqlite_url")))


@pytest.fixture
def parts(url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    sandbox.switch("ack_after_s", 0.1)
    sandbox.switch("delivered_after_s", 0.2)
    return build(url, TRUETICK_RECONCILE_INTERVAL_S=0.2, TRUETICK_DRAIN_RUN_S=0.5)


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


@BOTH
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


@BOTH
def test_the_same_key_sends_once_and_another_text_under_it_is_refused(crm: Crm) -> None:
    first = begin(crm.parts, idempotency_key="monday")

    assert begin(crm.parts, "+91 70330 09600", idempotency_key="monday") == first
    with pytest.raises(Conflict):
        begin(crm.parts, idempotency_key="monday", text="another")
    assert begin(crm.parts, idempotency_key="tuesday") != first
    assert len(crm.messages()) == 2


@BOTH
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
    with pytest.raises(InvalidRequest):
        begin(crm.parts, text="half of a pair: \udcff")
    assert crm.messages() == []


def test_a_tick_of_yesterday_proves_nothing_of_today(crm: Crm, sandbox: Sandbox) -> None:
    """Whoever asks with the same key every morning must not be told for ever that all is well."""
    message_id = begin(crm.parts, idempotency_key="every morning")
    ticked_at = crm.parts.clock()
    crm.set_message(1, state="sent", sent_at=ticked_at)
    assert trial.follow(crm.parts, message_id, timeout_s=0.1).proven

    crm.set_message(1, sent_at=ticked_at - timedelta(days=1))
    report = trial.follow(crm.parts, begin(crm.parts, idempotency_key="every morning"), timeout_s=0.1)

    assert (report.proven, report.status) == (False, "sent")
    assert "Sending is not proven. WhatsApp ticked this message 24 h ago" in report.summary
    assert "another idempotency key" in (report.action or "")


def test_the_only_channel_with_a_key_is_the_one_that_is_tested(crm: Crm, parts: Parts) -> None:
    crm.channels("sales")
    begin(parts)
    parts.settings.gateway_api_key = None
    health.check_channels(parts)
    crm.set_channel("default", state="blocked", reason="no_api_key")
    begin(parts)
    crm.channels("support")
    begin(parts)

    names = {crm.channel(name).id: name for name in ("default", "sales", "support")}
    assert [names[message.channel_id] for message in crm.messages()] == ["default", "sales", "default"]


def test_following_it_reads_one_message_however_many_wait(crm: Crm) -> None:
    message_id = begin(crm.parts)
    asked: list[str] = []
    event.listen(crm.parts.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    trial.follow(crm.parts, message_id, timeout_s=1)

    counting = [one for one in asked if "count(" in one.lower() and "GROUP BY" in one]
    assert len(asked) > 3 * 2, "it was looked at again and again"
    assert len(counting) <= 2, "the backlog is counted once, for the report"
