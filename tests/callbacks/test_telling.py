"""Each status change that the CRM can see is told to each endpoint: signed, once, in order."""

import json
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from tests.callbacks.office import DELIVERED, READ, SENT, Office
from tests.callbacks.receiver import OK, SECRET, Receiver
from tests.real_servers import wait_until
from worker.callbacks import endpoints
from worker.callbacks.corrections import tell_again
from worker.callbacks.teller import Teller, anything_new
from worker.models import Message
from worker.parts import Parts


def test_a_message_s_changes_are_told_in_order_signed_and_with_the_message(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    message = office.message(SENT, DELIVERED, READ)

    office.tell()

    assert receiver.statuses(message) == ["sent", "delivered", "read"]
    assert receiver.unverified == 0
    assert office.states() == ["delivered"] * 3
    first = receiver.heard[0]
    told = Webhook(SECRET).verify(first.body, first.headers)
    assert told["type"] == "message.status"
    assert told["timestamp"] == told["data"]["change"]["at"]
    # The status is that of the change, although the message has gone on.
    assert (told["data"]["status"], told["data"]["state"]) == ("sent", "read")
    assert told["data"]["change"] == {
        "seq": 2,
        "status": "sent",
        "at": told["timestamp"],
        "previous": "pending",
    }
    assert first.headers["content-type"] == "application/json"
    assert [heard.data["change"]["previous"] for heard in receiver.heard] == ["pending", "sent", "delivered"]


def test_neither_texts_nor_secrets_are_told(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    office.message(SENT)

    office.tell()

    [heard] = receiver.heard
    assert "Hello" not in heard.body
    assert SECRET not in heard.body + str(heard.headers)
    assert set(json.loads(heard.body)["data"]) >= {"id", "to", "recipient", "crm_ref", "sent_at", "error"}


def test_that_a_message_was_made_is_not_told_but_that_it_failed_at_once_is(
    office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    office.message()
    failed = office.failed_at_once()

    office.tell()

    [heard] = receiver.taken
    assert (heard.message, heard.status) == (failed, "failed")
    assert heard.data["change"]["previous"] is None
    assert heard.data["error"]["code"]


def test_each_change_is_told_to_each_endpoint_once(office: Office, receivers: Callable[..., Receiver]) -> None:
    one, other = receivers(), receivers()
    office.add(one.url, "one")
    office.add(other.url, "other")
    message = office.message(SENT)
    office.tell()
    office.tick(message, DELIVERED)

    office.tell()
    office.tell()

    assert one.statuses(message) == other.statuses(message) == ["sent", "delivered"]
    assert len(one.heard) == len(other.heard) == 2
    # A receiver behind both can tell that it is the same change.
    assert [heard.id for heard in one.heard] == [heard.id for heard in other.heard]


def test_a_new_endpoint_is_told_nothing_of_what_was_before(office: Office, receiver: Receiver) -> None:
    message = office.message(SENT)
    office.wait(seconds=1)
    office.add(receiver.url)
    office.tick(message, DELIVERED)

    office.tell()

    assert [heard.status for heard in receiver.heard] == ["delivered"]


def test_without_an_endpoint_a_look_is_one_query_and_numbers_nothing(office: Office) -> None:
    office.message(SENT)
    asked: list[str] = []
    sqlalchemy_event.listen(office.parts.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))

    office.tell()

    assert len([one for one in asked if not one.startswith("BEGIN")]) == 1
    assert office.numbered() == 0


def test_the_environment_s_endpoint_is_made_on_first_use_and_told_from_then_on(
    office: Office, receiver: Receiver, build: Callable[..., Parts], database_url: str
) -> None:
    old = office.message(SENT)
    office.wait(seconds=1)
    office.parts = office.another(
        build(database_url, TRUETICK_CALLBACK_URL=receiver.url, TRUETICK_CALLBACK_SECRET=SECRET)
    )
    office.tell()
    assert receiver.heard == []
    new = office.message(SENT)

    office.tell()

    assert [heard.message for heard in receiver.taken] == [new]
    assert receiver.unverified == 0
    assert (office.endpoint(endpoints.DEFAULT).address, office.states(endpoints.DEFAULT)) == (None, ["delivered"])
    assert receiver.statuses(old) == []


def test_an_endpoint_without_a_secret_is_not_called_and_says_so_once(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url, secret=None)
    message = office.message(SENT)
    with capture_logs() as logs:
        office.tell()
        office.wait(minutes=2)
        office.tell()
    assert receiver.heard == []
    assert "signing secret is missing" in (office.endpoint().problem or "")
    assert [line["log_level"] for line in logs if line["event"] == "no_callback_secret"] == ["error"]
    assert "of-the-path" not in str(logs) + str(office.endpoint().problem)

    sealed = office.parts.vault.seal(SECRET)
    office.desk.write(lambda c: endpoints.replace_secret(c, office.endpoint().id, sealed, office.desk.now))
    office.tell()

    assert receiver.statuses(message) == ["sent"]
    assert office.endpoint().problem is None


@pytest.mark.parametrize("secret", ["my-secret", "whsec_c2hvcnQ=", "whsec_" + "A" * 200, "whsec_ü"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_secret_of_the_environment_that_cannot_sign_is_said_and_not_shown(
    office: Office, receiver: Receiver, build: Callable[..., Parts], database_url: str, secret: str
) -> None:
    office.parts = office.another(
        build(database_url, TRUETICK_CALLBACK_URL=receiver.url, TRUETICK_CALLBACK_SECRET=secret)
    )
    office.tell()
    office.message(SENT)

    office.tell()

    problem = office.endpoint(endpoints.DEFAULT).problem or ""
    assert receiver.heard == []
    assert "TRUETICK_CALLBACK_SECRET" in problem
    assert secret not in problem


def test_a_status_can_be_told_once_more_to_a_crm_that_believes_otherwise(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    waiting, sent = office.message(), office.message(SENT)
    office.tell()
    seqs = [row.seq for row in office.desk.read(select(Message.seq))]

    assert office.desk.write(lambda c: tell_again(c, [*seqs, 4711], now=office.desk.now)) == 2
    office.tell()

    assert (receiver.statuses(waiting), receiver.statuses(sent)) == (["pending"], ["sent", "sent"])
    assert len({heard.id for heard in receiver.heard}) == 3


def test_only_news_for_somebody_is_a_reason_to_wake_up(office: Office, receiver: Receiver) -> None:
    office.message(SENT)
    assert not anything_new(office.parts), "there is nobody to tell"
    office.add(receiver.url)
    assert anything_new(office.parts)
    office.tell()
    assert not anything_new(office.parts)


def test_two_workers_tell_nothing_twice(
    office: Office, receiver: Receiver, build: Callable[..., Parts], database_url: str
) -> None:
    office.add(receiver.url)
    messages = [office.message(SENT, DELIVERED) for _ in range(10)]
    workers = [(office.another(build(database_url)), Teller()) for _ in range(3)]
    threads = [threading.Thread(target=teller.look, args=[parts]) for parts, teller in workers]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(teller.until_idle(20) for _, teller in workers)
    office.tell()

    assert [receiver.statuses(message) for message in messages] == [["sent", "delivered"]] * 10
    assert len(receiver.heard) == 20


def test_many_changes_are_taken_up_in_batches_and_told_side_by_side(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    office.many_changes(600)

    office.tell()

    assert len({heard.id for heard in receiver.taken}) == 600 == len(receiver.heard)
    assert 2 <= receiver.most_at_once <= 8


def test_a_look_finds_what_happens_while_a_run_is_telling(office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)
    office.message(SENT)
    receiver.gate.clear()
    receiver.behave = lambda heard: receiver.hanging if heard.data["change"]["seq"] == 2 else OK
    office.look()
    second = office.message(SENT)

    office.look()

    wait_until(lambda: any(heard.message == second for heard in receiver.heard), within_s=5, what="the second one")
    receiver.gate.set()
    office.tell()
    assert office.states() == ["delivered", "delivered"]
