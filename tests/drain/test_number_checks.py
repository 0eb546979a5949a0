"""Messages whose number is to be looked up first: a clear no stops them, everything else never does."""

from collections.abc import Callable
from datetime import UTC

import pytest
from sqlalchemy import select

from tests.drain.scene import Crm, drain, number
from tests.drain.test_files import counting, keep
from wasender_sandbox.control import Sandbox
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.models import KnownNumber
from worker.outbox import people
from worker.parts import Parts

ABSENT = number(0)


def known(crm: Crm) -> dict[str, bool]:
    return {row.recipient: row.on_whatsapp for row in crm.read(select(KnownNumber.__table__))}


def test_a_number_that_is_not_on_whatsapp_fails_its_message_before_anything_is_sent(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.recipients(not_on_whatsapp=ABSENT)
    questions, uploads = counting(sandbox, "on-whatsapp"), counting(sandbox)
    crm.enqueue(["nobody"], check_number=True, image_url=keep(parts))
    drain(parts)
    crm.enqueue(["nobody again"], check_number=True)
    drain(parts)

    assert [row.error_code for row in crm.messages()] == ["not_on_whatsapp"] * 2
    assert "not on WhatsApp" in crm.messages()[0].error_message
    assert sandbox.requests() == []
    assert (questions(), uploads()) == (1, 0)
    assert known(crm) == {ABSENT: False}
    assert crm.channel().state is ChannelState.UP


def test_a_number_that_is_there_is_asked_about_once(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    questions = counting(sandbox, "on-whatsapp")
    crm.enqueue(["one", "two", "three"], to=lambda _: number(1), check_number=True)

    drain(parts)

    assert crm.texts() == ["one", "two", "three"]
    assert questions() == 1
    assert known(crm) == {number(1): True}
    assert crm.channel().number_checks_that_day == 1


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("error", {"status": 500}),
        ("html", {"status": 520}),
        ("reset", {}),
        ("hang", {}),
        ("wrong_types", {}),
        ("answer", {"body": '{"success":true,"data":{}}'}),
        ("answer", {"body": '{"success":true,"data":{"exists":"false"}}'}),
        ("answer", {"body": '{"success":false,"data":{"exists":false}}'}),
    ],
)
def test_no_clear_answer_means_that_the_message_is_sent(
    crm: Crm,
    build: Callable[..., Parts],
    database_url: str,
    sandbox: Sandbox,
    kind: str,
    options: dict[str, object],
) -> None:
    parts = build(database_url, TRUETICK_READ_TIMEOUT_S=0.3)
    sandbox.fault(kind, endpoint="on-whatsapp", **options)  # type: ignore[arg-type]
    crm.enqueue(["one"], check_number=True)

    drain(parts)

    assert crm.states() == ["accepted"]
    assert known(crm) == {}


def test_what_a_session_that_is_not_connected_says_about_numbers_is_not_believed(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.fault("answer", endpoint="on-whatsapp", body='{"success":true,"data":{"exists":false}}')
    sandbox.set_status("default", "need_scan")
    crm.enqueue(["one"], check_number=True)

    drain(parts)

    assert crm.states() == ["queued"]
    assert known(crm) == {}
    assert crm.channel().state is ChannelState.DOWN


def test_without_a_question_left_the_message_is_sent_as_usual(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    questions = counting(sandbox, "on-whatsapp")
    today = parts.clock().astimezone(UTC).date()
    crm.set_channel("default", number_checks_on=today, number_checks_that_day=1000)
    crm.enqueue(["one"], check_number=True)

    drain(parts)

    assert crm.texts() == ["one"]
    assert questions() == 0


def test_a_channel_that_was_told_to_ask_less_asks_no_more_for_so_long(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.fault("throttled", endpoint="on-whatsapp", count=1, retry_after=900)
    crm.enqueue(["one", "two"], check_number=True)

    drain(parts)

    assert crm.texts() == ["one", "two"]
    assert known(crm) == {}
    assert (crm.channel().number_check_slot_at - parts.clock()).total_seconds() > 800


def test_groups_are_not_looked_up(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    questions = counting(sandbox, "on-whatsapp")
    crm.enqueue(["one"], to=lambda _: "120363041234567890@g.us", check_number=True)
    drain(parts)
    assert crm.texts() == ["one"]
    assert questions() == 0


def test_a_message_that_a_person_sends_again_is_posted_whatever_was_answered_before(
    crm: Crm, parts: Parts, sandbox: Sandbox
) -> None:
    sandbox.recipients(not_on_whatsapp=ABSENT)
    crm.enqueue(["one"], check_number=True)
    drain(parts)
    sandbox.recipients(exists=ABSENT)
    with transaction(parts.engine) as connection:
        people.resend(connection, crm.messages()[0].id, now=parts.clock())

    drain(parts)

    assert crm.texts() == ["one"]
    assert crm.states() == ["accepted"]
