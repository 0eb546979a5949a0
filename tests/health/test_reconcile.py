"""What became of accepted messages: asked of WaSender, believed only with WhatsApp's tick."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import update

from tests.conftest import API_KEY
from tests.drain.scene import Crm, drain, number
from tests.real_servers import wait_until
from wasender_sandbox.control import Sandbox
from worker import asking, evidence
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.evidence import reconcile_messages
from worker.models import Message
from worker.parts import Parts


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    """With runs that end as soon as nothing is due: the tests say when a message is asked about."""
    sandbox.create_channel("default", api_key=API_KEY, limit="none")
    return build(database_url, **SHORT_RUNS)


@pytest.fixture
def crm(crm: Crm) -> Iterator[Crm]:
    crm.set_channel("default", state=ChannelState.UP)
    crm.sandbox.switch("read_fraction", 1)
    for name in ("ack_after_s", "delivered_after_s", "read_after_s"):
        crm.sandbox.switch(name, 0)
    return crm


SHORT_RUNS = {"TRUETICK_RECONCILE_INTERVAL_S": 0.01}


def due_now(crm: Crm) -> None:
    with transaction(crm.parts.engine) as connection:
        connection.execute(
            update(Message).where(Message.next_check_at.is_not(None)).values(next_check_at=crm.parts.clock())
        )


def ask(crm: Crm, parts: Parts) -> bool:
    due_now(crm)
    return reconcile_messages(parts)


def test_a_message_is_called_sent_delivered_and_read_as_whatsapp_ticks_it(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.switch("ack_after_s", 0.3)
    sandbox.switch("delivered_after_s", 0.6)
    sandbox.switch("read_after_s", 0.9)
    crm.enqueue(["hello"])
    drain(parts)
    assert crm.states() == ["accepted"], "WaSender's word was taken for a tick"

    wait_until(lambda: (ask(crm, parts), crm.states() == ["read"])[1], within_s=4, what="the last tick")

    assert crm.moves()[3:] == [("accepted", "sent"), ("sent", "delivered"), ("delivered", "read")]
    (row,) = crm.messages()
    (entry,) = sandbox.ledger()
    assert row.whatsapp_key_id == entry.key_id
    assert row.next_check_at is None
    assert row.sent_at <= row.delivered_at <= row.read_at


def test_two_reconciliations_at_once_write_each_tick_once(
    crm: Crm, parts: Parts, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    crm.enqueue([f"{index}" for index in range(130)])  # more than one batch
    drain(parts)
    due_now(crm)
    workers = [parts, build(database_url, **SHORT_RUNS)]
    threads = [threading.Thread(target=reconcile_messages, args=[one]) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)

    assert set(crm.states()) == {"read"}
    moves = Counter(crm.moves())
    assert moves[("accepted", "read")] == 130
    assert sum(moves.values()) == 4 * 130


@pytest.mark.parametrize("trouble", ["404", "403", "reset", "html", "throttled", "key"])
def test_what_is_not_an_answer_changes_nothing_and_is_asked_again_later_and_later(
    crm: Crm, parts: Parts, build: Callable[..., Parts], database_url: str, sandbox: Sandbox, trouble: str
) -> None:
    crm.enqueue(["hello"])
    drain(parts)
    asking = parts
    if trouble in ("404", "403"):
        sandbox.fault("answer", endpoint="*", status=int(trouble), body='{"success":false,"message":"Not found"}')
    elif trouble == "key":
        asking = build(database_url, WASENDER_API_KEY="0b" * 32, **SHORT_RUNS)
    else:
        sandbox.fault(trouble, endpoint="*")

    pauses = []
    for _ in range(4):
        ask(crm, asking)
        (row,) = crm.messages()
        assert (row.state, row.error_code) == ("accepted", None)
        pauses.append((row.next_check_at - crm.parts.clock()).total_seconds())
    assert pauses[3] > 3 * pauses[0], f"the pauses do not grow: {pauses}"
    sandbox.clear_faults()
    ask(crm, parts)
    assert crm.states() == ["read"]


def test_whatsapps_error_fails_a_message_that_was_accepted(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.recipients(fails_later=number(0))
    crm.enqueue(["never arrives", "arrives"])
    drain(parts)

    wait_until(lambda: (ask(crm, parts), "accepted" not in crm.states())[1], within_s=3, what="both answers")

    assert crm.states() == ["failed", "read"]
    assert crm.messages()[0].error_code == "whatsapp_error"


def test_a_mute_session_gets_no_tick_by_being_asked(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.mute("default")
    crm.enqueue(["hello"])
    drain(parts)
    assert not ask(crm, parts)
    assert crm.states() == ["accepted"]


def test_more_questions_than_there_is_room_for_end_no_run(
    crm: Crm, parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the ticked ones some are taken even where the others fill a look; and WaSender takes its time."""
    monkeypatch.setattr(asking, "MOST", 8)
    monkeypatch.setattr(evidence, "RUN_S", 2.0)
    parts.settings.reconcile_interval_s = 1.0
    sandbox.switch("delivered_after_s", 3600)
    crm.enqueue([f"ticked {index}" for index in range(4)])
    drain(parts)
    assert ask(crm, parts) is not None
    assert crm.states() == ["sent"] * 4
    sandbox.switch("ack_after_s", 3600)
    crm.enqueue([f"open {index}" for index in range(10)], to=lambda index: number(100 + index))
    drain(parts)
    sandbox.fault("delay", endpoint="info", seconds=0.6)

    ask(crm, parts)

    assert crm.states() == ["sent"] * 4 + ["accepted"] * 10
