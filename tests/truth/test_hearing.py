"""What webhooks say: twice, out of order, too early, about strangers or never; each transition is learnt once."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from tests.drain.scene import number
from tests.real_servers import wait_until
from tests.truth.stage import Stage
from worker.database import transaction
from worker.domain.webhook_meter import STOPPED_AFTER
from worker.hearing import hear_webhooks
from worker.models import WebhookFact
from worker.outbox import webhook_facts
from worker.sweep import sweep

pytestmark = pytest.mark.usefixtures("webhooks")
Hearing = Callable[[int], None]


@pytest.fixture
def options() -> dict[str, object]:
    return {"TRUETICK_READ_TIMEOUT_S": 10}


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.crm.set_channel("default", unacked_window=20)
    return stage


def send(stage: Stage, *texts: str, to: Callable[[int], str] = number) -> None:
    stage.crm.enqueue(texts, to=to)
    stage.send()


def facts(stage: Stage) -> int:
    count: int = stage.crm.read(select(func.count()).select_from(WebhookFact))[0][0]
    return count


def assert_each_move_once(stage: Stage, messages: int) -> None:
    moves = Counter(stage.crm.moves())
    assert moves[("accepted", "sent")] + moves[("accepted", "delivered")] == messages
    assert moves[("sent", "delivered")] == moves[("accepted", "sent")]
    assert len(stage.crm.moves()) <= 5 * messages


def test_all_is_learnt_from_webhooks_without_a_single_question(stage: Stage, hearing: Hearing) -> None:
    send(stage, *"abcde")
    hearing(20)
    assert stage.crm.states() == ["delivered"] * 5
    assert {row.asked_at for row in stage.crm.messages()} == {None}
    channel = stage.crm.channel()
    assert (channel.ticks_by_webhook, channel.ticks_by_asking) == (len(stage.crm.moves()) - 15, 0)
    assert facts(stage) == 0, "facts that are used up are kept"
    keys = {entry.msg_id: entry.key_id for entry in stage.sandbox.ledger()}
    assert {row.gateway_msg_id: row.whatsapp_key_id for row in stage.crm.messages()} == keys


@pytest.mark.parametrize(
    "shape",
    [
        {"update_shape": "array", "update_status_type": "word", "upsert_shape": "object"},
        {"update_status_type": "string", "webhook_remote_jid": "e164", "send_events": "upsert"},
        {"webhook_timestamp": "absent", "message_sent_msg_id": True, "send_events": "sent"},
    ],
    ids=str,
)
def test_every_shape_of_them_is_understood(stage: Stage, hearing: Hearing, shape: dict[str, object]) -> None:
    for name, value in shape.items():
        stage.sandbox.switch(name, value)
    send(stage, *"abc")
    hearing(9 if "send_events" in shape else 12)
    assert stage.crm.states() == ["delivered"] * 3
    assert stage.crm.channel().ticks_by_asking == 0


def test_the_same_twice_moves_and_counts_once(stage: Stage, hearing: Hearing) -> None:
    stage.sandbox.webhooks(doubled=1.0)
    send(stage, *"abcde")
    hearing(40)
    stage.live(30)
    assert stage.crm.states() == ["delivered"] * 5
    assert_each_move_once(stage, 5)
    assert {row.duplicates for row in stage.crm.messages()} == {0}
    assert stage.crm.channel().ticks_by_webhook + stage.crm.channel().ticks_by_asking == len(stage.crm.moves()) - 15


def test_out_of_order_they_lead_forward_only(stage: Stage) -> None:
    stage.sandbox.webhooks(reordered=0.7)
    send(stage, *"abcdefgh")

    def all_heard() -> bool:
        stage.hear()
        stage.pass_time(1)  # what could not be placed is looked at again
        return set(stage.crm.states()) == {"delivered"}

    wait_until(all_heard, within_s=5, what="the last tick")
    assert_each_move_once(stage, 8)
    assert stage.crm.channel().ticks_by_asking == 0


def test_what_comes_before_the_sends_own_answer_waits_for_it(stage: Stage) -> None:
    stage.sandbox.webhooks(early=1.0)
    stage.sandbox.latency(after=0.3)
    stage.crm.enqueue(["early"])
    sending = threading.Thread(target=stage.send)
    sending.start()
    wait_until(lambda: facts(stage) >= 3, within_s=3, what="webhooks before the answer")
    assert stage.crm.states() == ["sending"]
    hear_webhooks(stage.parts)
    sending.join()
    assert stage.crm.states() == ["accepted"]

    stage.pass_time(5)
    stage.hear()

    assert stage.crm.states() == ["delivered"]
    assert facts(stage) == 0


def test_a_tick_that_comes_before_its_id_is_known_waits_for_it(stage: Stage) -> None:
    stage.sandbox.switch("send_events", "none")
    stage.sandbox.switch("update_skip", 1.0)
    send(stage, "hello")
    stage.ticks(1)
    (entry,) = stage.sandbox.ledger()
    stage.webhook("messages.update", {"update": {"status": 4}, "key": {"id": entry.key_id, "fromMe": True}})
    stage.hear()
    assert stage.crm.states() == ["accepted"], "whose tick is it?"

    stage.pass_time(3)
    stage.ask()
    stage.hear()

    assert stage.crm.states() == ["read"]
    assert stage.crm.events(1)[-1].source == "webhook"
    assert facts(stage) == 0


def test_lids_say_nothing_until_message_info_has_told_the_id(stage: Stage, hearing: Hearing) -> None:
    stage.sandbox.switch("webhook_remote_jid", "lid")
    stage.sandbox.switch("send_events", "upsert")
    send(stage, "one", "two", to=lambda index: number(index))
    hearing(6)
    assert stage.crm.states() == ["accepted"] * 2
    stage.live(30)
    assert stage.crm.states() == ["delivered"] * 2
    assert facts(stage) == 0
    keys = {entry.msg_id: entry.key_id for entry in stage.sandbox.ledger()}
    assert {row.gateway_msg_id: row.whatsapp_key_id for row in stage.crm.messages()} == keys


def test_two_alike_messages_to_one_person_each_get_their_own_tick(stage: Stage, hearing: Hearing) -> None:
    stage.sandbox.mute("default")
    send(stage, "alike", "alike", to=lambda _: number(1))
    assert stage.crm.states() == ["accepted"] * 2
    stage.sandbox.unmute("default")
    hearing(8)
    stage.live(60)

    assert stage.crm.states() == ["delivered"] * 2
    keys = {entry.msg_id: entry.key_id for entry in stage.sandbox.ledger()}
    assert {row.gateway_msg_id: row.whatsapp_key_id for row in stage.crm.attempts()} == keys
    assert {row.duplicates for row in stage.crm.messages()} == {0}


def test_messages_of_the_phone_itself_move_nothing_and_are_forgotten(stage: Stage) -> None:
    send(stage, "hello")
    stage.live(30, until=lambda: stage.crm.states() == ["delivered"])
    moves, used = stage.crm.moves(), stage.crm.channel().ticks_by_webhook
    typed = {"key": {"id": "3EB0FFFF", "fromMe": True, "remoteJid": "917033000000@s.whatsapp.net"}}
    stage.webhook("messages.upsert", {"messages": [typed | {"message": {"conversation": "typed by hand"}}]})
    stage.webhook("messages.update", {"update": {"status": 3}, "key": typed["key"]})
    stage.webhook("messages.update", {"update": {"status": 3}, "key": {"id": "3EB0EEEE"}})
    stage.webhook("an.event.nobody.knows", {"key": typed["key"]})
    stage.hear()
    stage.live(60)

    assert stage.crm.moves() == moves
    assert stage.crm.channel().ticks_by_webhook == used
    stage.pass_time(49 * 3600)
    sweep(stage.parts)
    assert facts(stage) == 0


def test_lost_ones_are_learnt_by_asking(stage: Stage) -> None:
    stage.sandbox.webhooks(lost=1.0)
    send(stage, *"abcde")
    stage.live(30)
    assert stage.crm.states() == ["delivered"] * 5
    channel = stage.crm.channel()
    assert (channel.ticks_by_webhook, channel.last_webhook_at) == (0, None)
    assert channel.ticks_by_asking == len(stage.crm.moves()) - 15


def test_once_they_stop_coming_that_is_said_once(stage: Stage, hearing: Hearing) -> None:
    send(stage, "heard")
    hearing(4)
    assert stage.crm.states() == ["delivered"]
    stage.sandbox.webhooks(lost=1.0)
    with capture_logs() as logs:
        for text in "abc":
            stage.pass_time(STOPPED_AFTER.total_seconds())
            send(stage, text)
            stage.live(30)
    assert stage.crm.states() == ["delivered"] * 4
    said = [(entry["log_level"], entry["channel"]) for entry in logs if entry["event"] == "webhooks_stopped"]
    assert said == [("warning", "default")]


def test_a_failure_is_believed_where_it_can_mean_one_message_only(stage: Stage, hearing: Hearing) -> None:
    stage.sandbox.switch("update_skip", 1.0)
    stage.sandbox.recipients(fails_later=[number(0), number(1)])
    send(stage, "alone", "first of two", "second of two", to=lambda index: number(min(index, 1)))
    hearing(3)
    assert stage.crm.states() == ["failed", "accepted", "accepted"], "a failure was guessed"
    stage.live(30)
    assert stage.crm.states() == ["failed"] * 3, "message info knows"
    assert {row.error_code for row in stage.crm.messages()} == {"whatsapp_error"}


def test_facts_that_a_dead_process_had_taken_are_heard_by_another(stage: Stage) -> None:
    send(stage, "hello")
    wait_until(lambda: facts(stage) == 4, within_s=3, what="all webhooks")

    with transaction(stage.parts.engine) as connection:
        assert len(webhook_facts.take_due(connection, stage.parts.clock(), 100)) == 4
    stage.hear()
    assert stage.crm.states() == ["accepted"]
    stage.pass_time(31)
    stage.hear()
    assert stage.crm.states() == ["delivered"]
