"""Many sessions that change at once, at a WaSender that answers slowly or never: the others do not wait for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain
from tests.health.test_check_channels import counted, due_again
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import health, hearing
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack
from worker.domain.webhook_fact import SessionChanged, TickSeen
from worker.models import Attempt, Channel
from worker.outbox import webhook_facts
from worker.parts import Parts

MANY = [f"channel-{index}" for index in range(48)]
HANGS_S = 4.0


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(database_url, TRUETICK_READ_TIMEOUT_S=HANGS_S)


@pytest.fixture
def crm(parts: Parts, sandbox: Sandbox) -> Crm:
    crm = Crm(parts, sandbox)
    crm.channels("default", *MANY)
    with transaction(parts.engine) as connection:
        connection.execute(update(Channel).values(check_due_at=parts.clock() + timedelta(hours=1)))
    return crm


def went_down(crm: Crm, *names: str) -> None:
    values = {"state": ChannelState.DOWN, "since": crm.parts.clock()}
    with transaction(crm.parts.engine) as connection:
        connection.execute(update(Channel).where(Channel.name.in_(names)).values(**values))


def told(crm: Crm, *names: str, times: int = 1) -> None:
    with transaction(crm.parts.engine) as connection:
        for name in names:
            facts = [SessionChanged(word=f"connected {number}") for number in range(times)]
            webhook_facts.store(connection, crm.channel(name).id, facts, crm.parts.clock())


@contextmanager
def running(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(2 * HANGS_S)
        assert not thread.is_alive()


def test_each_changed_session_is_asked_about_once_and_many_at_a_time(
    crm: Crm, parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_down(crm, *MANY)
    told(crm, *MANY, times=3)
    sandbox.fault("delay", endpoint="status", seconds=0.5)
    asked = counted(parts, monkeypatch)
    begun = time.monotonic()
    assert hearing.hear_webhooks(parts)
    assert time.monotonic() - begun < 0.5 * len(MANY) / 2
    assert len(asked) == len(set(asked)) == len(MANY)
    assert {crm.channel(name).state for name in MANY} == {ChannelState.UP}
    with transaction(parts.engine) as connection:
        assert not webhook_facts.anything_due(connection, parts.clock() + timedelta(hours=50))


@pytest.mark.parametrize("heard", [True, False], ids=["by a webhook", "by the schedule"])
def test_a_session_that_is_back_wakes_the_sending_while_another_does_not_answer(
    crm: Crm, parts: Parts, sandbox: Sandbox, heard: bool
) -> None:
    went_down(crm, *MANY[:2])
    sandbox.fault("hang", endpoint="status", channel=MANY[0])
    woken: list[float] = []

    def wake() -> None:
        woken.append(time.monotonic())

    begun = time.monotonic()
    if heard:
        told(crm, *MANY[:2])
        hearing.hear_webhooks(parts, wake)
    else:
        due_again(crm, *MANY[:2])
        health.check_channels(parts, wake)
    assert time.monotonic() - begun >= HANGS_S, "the other one has answered"
    assert len(woken) == 1
    assert woken[0] - begun < HANGS_S / 2
    assert [crm.channel(name).state for name in MANY[:2]] == [ChannelState.DOWN, ChannelState.UP]


def test_ticks_are_used_while_a_changed_session_does_not_answer(
    crm: Crm, parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.enqueue(["hello"])
    drain(parts)
    with transaction(parts.engine) as connection:
        connection.execute(update(Attempt).values(whatsapp_key_id="3EB0"))
    sandbox.fault("hang", endpoint="status", channel=MANY[0])
    told(crm, MANY[0])
    asked = counted(parts, monkeypatch)
    begun = time.monotonic()
    with running(lambda: hearing.hear_webhooks(parts)):
        wait_until(lambda: asked, within_s=2, what="the question")
        with transaction(parts.engine) as connection:
            tick = TickSeen(whatsapp_key_id="3EB0", whatsapp_jid=None, ack=Ack.SERVER)
            webhook_facts.store(connection, crm.channel().id, [tick], parts.clock())
        wait_until(lambda: crm.states() == ["sent"], within_s=HANGS_S / 2, what="the tick")
        assert time.monotonic() - begun < HANGS_S


def test_no_more_channels_are_taken_than_are_asked_at_once(
    crm: Crm, parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others stay with whoever has time for them."""
    monkeypatch.setattr(health, "ASKERS", 5)
    sandbox.fault("hang", endpoint="status")
    due_again(crm, *MANY)
    asked = counted(parts, monkeypatch)
    with running(lambda: health.check_channels(parts)):
        wait_until(lambda: len(asked) == 5, within_s=2, what="the first questions")
        now = parts.clock()
        taken = [name for name in MANY if crm.channel(name).check_due_at > now]
        parts.stopping.set()
    assert len(taken) == 5
