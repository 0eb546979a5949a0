"""A database that is away holds a CRM's request up, for a while; it never loses or doubles it."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from tests.outbox.cuttable_line import CuttableLine
from tests.outbox.desk import ALICE, Desk
from tests.real_servers import wait_until
from worker import intake
from worker.domain.message_status import MessageState
from worker.models import Message
from worker.outbox.enqueue import Enqueued
from worker.parts import Parts, build_parts
from worker.settings import read_settings

REQUEST = {"to": ALICE, "text": "Hello"}


@pytest.fixture
def line(postgres_desk: Desk) -> Iterator[CuttableLine]:
    with CuttableLine(postgres_desk.engine.url.render_as_string(hide_password=False)) as line:
        yield line


@pytest.fixture
def parts(line: CuttableLine, tmp_path: Path) -> Iterator[Parts]:
    parts = build_parts(read_settings(DATABASE_URL=line.url, TRUETICK_VAR_DIR=tmp_path, _env_file=None))
    yield parts
    parts.stopping.set()
    parts.gateway.close()
    parts.engine.dispose()


@pytest.mark.parametrize("known_before", [False, True], ids=["from the start", "in the middle"])
def test_a_request_waits_out_an_outage_and_is_stored_once(
    postgres_desk: Desk, parts: Parts, line: CuttableLine, known_before: bool
) -> None:
    if known_before:
        intake.take_in(parts, REQUEST, task_id=str(uuid4()))
    line.cut()
    task_id = str(uuid4())
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(intake.take_in, parts, REQUEST, task_id=task_id)
        wait_until(lambda: line.refused >= 2, within_s=20, what="a second try")
        assert not taking.done()
        line.mend()
        enqueued = taking.result(timeout=20)
    assert (str(enqueued.message_id), enqueued.state) == (task_id, MessageState.QUEUED)
    assert len(postgres_desk.read(select(Message.seq).where(Message.id == enqueued.message_id))) == 1


def test_after_a_long_wait_the_task_goes_back_and_may_come_again(
    postgres_desk: Desk, parts: Parts, line: CuttableLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "LONGEST_WAIT_S", 0.3)
    task_id = str(uuid4())
    line.cut()
    with pytest.raises(intake.DatabaseStillAway):
        intake.take_in(parts, REQUEST, task_id=task_id)
    line.mend()
    assert intake.take_in(parts, REQUEST, task_id=task_id).created
    assert len(postgres_desk.read(select(Message.seq))) == 1


def test_a_stopping_process_gives_the_task_back_at_once(parts: Parts, line: CuttableLine) -> None:
    line.cut()
    parts.stopping.set()
    begun = time.monotonic()
    with pytest.raises(intake.DatabaseStillAway):
        intake.take_in(parts, REQUEST, task_id=str(uuid4()))
    assert time.monotonic() - begun < 10


def test_a_wake_up_is_asked_for_when_nobody_can_tell_whether_it_is_needed(parts: Parts, line: CuttableLine) -> None:
    enqueued = intake.take_in(parts, REQUEST, task_id=str(uuid4()))
    line.cut()
    assert intake.needs_wake(parts, enqueued)
    assert not intake.needs_wake(parts, Enqueued(enqueued.message_id, enqueued.channel_id, False, enqueued.state))
