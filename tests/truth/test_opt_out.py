"""STOP and START as people write them to a channel: by webhook, judged by what WhatsApp got afterwards."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Row, func, select
from structlog.testing import capture_logs

from tests.drain.scene import number
from tests.truth.stage import Stage
from wasender_sandbox.events import lid_of
from worker import opt_out
from worker.database import transaction
from worker.domain.errors import InvalidRequest
from worker.hearing import hear_webhooks
from worker.models import Suppression, WebhookFact
from worker.outbox import webhook_facts

Hearing = Callable[[int], None]
PERSON, OTHER = number(0), number(1)
DIGITS = PERSON.removeprefix("+")


@pytest.fixture
def stage(stage: Stage, webhooks: threading.Event) -> Stage:
    stage.crm.set_channel("default", unacked_window=20)
    return stage


def told(stage: Stage, text: str, hearing: Hearing, sender: str = DIGITS) -> None:
    """Somebody writes; WaSender tells of it three times."""
    before = stage.delivered()
    stage.sandbox.inbound("default", sender, text)
    hearing(before + 3)


def later(stage: Stage) -> None:
    """WhatsApp tells times in whole seconds. Meanwhile the wish is looked at for the second and the last time."""
    for _ in range(2):
        stage.pass_time(5)
        stage.hear()


def suppressions(stage: Stage) -> Sequence[Row[Any]]:
    return stage.crm.read(select(Suppression.__table__).order_by(Suppression.id))


def facts(stage: Stage) -> int:
    """How many stored facts there are of what people wrote."""
    sent = ("sent", "tick")
    count: int = stage.crm.read(select(func.count()).where(WebhookFact.kind.not_in(sent)))[0][0]
    return count


def written_to(stage: Stage, recipient: str = PERSON) -> list[str]:
    return [entry.text or "" for entry in stage.sandbox.ledger() if entry.recipient == recipient]


def enqueue(stage: Stage, text: str, to: str = PERSON, **request: Any) -> None:
    stage.crm.enqueue([text], to=lambda _: to, **request)


def test_whoever_writes_stop_gets_one_answer_and_nothing_more(stage: Stage, hearing: Hearing) -> None:
    stage.crm.channels("second")
    enqueue(stage, "one")
    enqueue(stage, "two", channel="second")
    enqueue(stage, "for another", to=OTHER)
    told(stage, "STOP", hearing)
    stage.send()

    [answer] = written_to(stage)
    assert answer == "You will get no more messages from us. Reply START to get them again."
    assert written_to(stage, OTHER) == ["for another"]
    assert stage.crm.states()[:2] == ["failed", "failed"]
    assert {row.error_code for row in stage.crm.messages()[:2]} == {"opted_out"}
    with pytest.raises(InvalidRequest) as refused:
        enqueue(stage, "three")
    assert refused.value.code == "opted_out"
    [row] = suppressions(stage)
    assert (row.recipient, row.source, row.word) == (PERSON, "webhook", "stop")


def test_start_brings_them_back(stage: Stage, hearing: Hearing) -> None:
    told(stage, "stop", hearing)
    stage.send()
    later(stage)
    told(stage, "Start!", hearing)
    enqueue(stage, "welcome back")
    stage.send()
    assert written_to(stage)[1:] == ["welcome back"]
    [row] = suppressions(stage)
    assert row.lifted_at is not None
    assert facts(stage) == 0, "a wish that was carried out is kept"


def test_all_else_that_people_write_leaves_no_trace(stage: Stage, hearing: Hearing) -> None:
    enqueue(stage, "hello")
    for text in ("please don't stop", "where is the bus stop?", "ok", "🙏"):
        told(stage, text, hearing)
    assert (facts(stage), suppressions(stage)) == (0, [])
    stage.send()
    assert written_to(stage) == ["hello"]


def test_a_repeated_stop_changes_nothing_and_is_not_answered_again(stage: Stage, hearing: Hearing) -> None:
    told(stage, "stop", hearing)
    later(stage)
    [before] = suppressions(stage)
    told(stage, "STOP!!!", hearing)
    stage.send()
    assert suppressions(stage) == [before]
    assert len(written_to(stage)) == 1


def test_two_that_hear_the_same_at_once_do_no_harm(stage: Stage, hearing: Hearing) -> None:
    stage.crm.enqueue([f"{index}" for index in range(20)], to=lambda _: PERSON)
    before = stage.delivered()
    stage.sandbox.inbound("default", DIGITS, "stop")
    hearers = [threading.Thread(target=hear_webhooks, args=[stage.parts]) for _ in range(4)]
    for hearer in hearers:
        hearer.start()
    for hearer in hearers:
        hearer.join(20)
    hearing(before + 3)
    stage.send()
    assert set(stage.crm.states()[:20]) == {"failed"}
    assert len(written_to(stage)) == 1


def test_what_was_being_stored_when_the_wish_came_fails_at_the_second_look(stage: Stage, hearing: Hearing) -> None:
    enqueue(stage, "stored a moment later")
    [message] = stage.crm.messages()
    stage.crm.set_message(message.seq, recipient=OTHER)
    told(stage, "stop", hearing)
    stage.crm.set_message(message.seq, recipient=PERSON)

    stage.pass_time(5)
    stage.hear()

    assert stage.crm.messages()[0].error_code == "opted_out"


def test_a_worker_that_stops_in_the_middle_leaves_the_wish_to_another(stage: Stage) -> None:
    enqueue(stage, "one")
    by_jid(stage, f"{DIGITS}@s.whatsapp.net")
    with transaction(stage.parts.engine) as connection:
        taken = webhook_facts.take_due(connection, stage.parts.clock(), 10)
    stage.parts.stopping.set()

    opt_out.hear_wishes(stage.parts, stage.crm.channel().id, [replace(one, tries=opt_out.LOOKS) for one in taken])

    stage.parts.stopping.clear()
    assert stage.crm.states() == ["queued"]
    assert facts(stage) == 1
    stage.pass_time(60)
    stage.hear()
    assert stage.crm.states()[0] == "failed"


def test_a_person_known_by_a_lid_only_is_found_by_asking(stage: Stage) -> None:
    enqueue(stage, "hello")
    by_lid(stage, lid_of(DIGITS))
    assert [row.recipient for row in suppressions(stage)] == [PERSON]
    assert stage.crm.states()[0] == "failed"
    stage.send()
    assert len(written_to(stage)) == 1, "the answer"


def test_a_lid_that_nobody_knows_is_kept_and_people_are_told(stage: Stage) -> None:
    enqueue(stage, "hello")
    with capture_logs() as logs:
        by_lid(stage, "12345678901234567@lid")
    assert [row.recipient for row in suppressions(stage)] == ["12345678901234567@lid"]
    [warning] = [entry for entry in logs if entry["event"] == "opt_out_without_number"]
    assert "truetick opt-outs add NUMBER" in warning["advice"]
    assert "12345678901234567" not in str(logs)
    stage.send()
    assert written_to(stage) == ["hello"]


@pytest.mark.parametrize("address", ["551187654321@s.whatsapp.net", "5215512345678@s.whatsapp.net", "987654321@lid"])
def test_whoever_whatsapp_knows_by_another_address_is_found_by_where_messages_went(
    stage: Stage, address: str
) -> None:
    """The number was written in some way; WhatsApp's tick named the address, and so does the person's STOP."""
    enqueue(stage, "hello", to=OTHER)
    enqueue(stage, "later", to=OTHER, send_after="2030-01-01T00:00:00Z")
    enqueue(stage, "for another")
    stage.crm.set_message(stage.crm.messages()[0].seq, whatsapp_jid=address)

    by_jid(stage, address)
    stage.hear()

    assert OTHER in {row.recipient for row in suppressions(stage)}
    assert PERSON not in {row.recipient for row in suppressions(stage)}
    assert stage.crm.messages()[1].error_code == "opted_out"
    assert stage.crm.messages()[2].state == "queued"
    with pytest.raises(InvalidRequest):
        enqueue(stage, "again", to=OTHER)
    stage.pass_time(5)
    by_jid(stage, address, text="START", written_at="1753700399", id="3EB0BBBB")
    stage.hear()
    enqueue(stage, "welcome back", to=OTHER)


def test_a_lid_waits_while_wasender_does_not_answer(stage: Stage) -> None:
    stage.sandbox.set_status("default", "disconnected", quiet=True)
    by_lid(stage, lid_of(DIGITS))
    assert suppressions(stage) == []
    stage.sandbox.set_status("default", "connected", quiet=True)
    stage.pass_time(5)
    stage.hear()
    assert [row.recipient for row in suppressions(stage)] == [PERSON]


def by_lid(stage: Stage, lid: str) -> None:
    by_jid(stage, lid, addressingMode="lid")
    stage.hear()


def by_jid(stage: Stage, jid: str, *, text: str = "STOP", written_at: str = "1753700390", **more: str) -> None:
    """A webhook that says who wrote STOP, which nobody has heard yet."""
    key = {"id": "3EB0AAAA", "fromMe": False, "remoteJid": jid} | more
    stage.webhook(
        "messages.received", {"messages": {"key": key, "messageBody": text, "messageTimestamp": written_at}}
    )


class TestOtherSettings:
    @pytest.fixture
    def options(self) -> dict[str, object]:
        return {
            "TRUETICK_STOP_WORDS": "halt, genug",
            "TRUETICK_START_WORDS": "weiter",
            "TRUETICK_STOP_REPLY": "off",
            "TRUETICK_START_REPLY": "Da sind wir wieder.",
        }

    def test_words_and_answers_are_what_the_settings_say(self, stage: Stage, hearing: Hearing) -> None:
        told(stage, "stop", hearing)
        assert suppressions(stage) == []
        told(stage, "Genug!", hearing)
        assert suppressions(stage)[0].word == "genug"
        stage.send()
        assert written_to(stage) == []
        later(stage)
        told(stage, "WEITER", hearing)
        stage.send()
        assert written_to(stage) == ["Da sind wir wieder."]
