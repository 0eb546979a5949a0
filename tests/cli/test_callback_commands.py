"""`truetick callbacks` in an operator's hands."""

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.callbacks.office import DELIVERED, SENT, Office
from tests.callbacks.receiver import OK, SECRET, Receiver, answering
from tests.cli.conftest import Said
from worker.models import Endpoint
from worker.parts import Parts

Truetick = Callable[..., Said]
ADDRESS = "https://crm.example.com/hook?token=of-the-path"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def office(sqlite_url: str, build: Callable[..., Parts]) -> Iterator[Office]:
    office = Office(sqlite_url, build(sqlite_url))
    yield office
    office.close()


def test_an_endpoint_gets_a_secret_of_its_own_which_is_shown_once_and_kept_encrypted(
    on: Truetick, office: Office
) -> None:
    said = on("callbacks", "add", "crm", ADDRESS)

    assert said.code == 0
    [secret] = [line for line in said.out.splitlines() if line.startswith("whsec_")]
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    sealed = office.endpoint().secret_encrypted
    assert office.parts.vault.open(sealed).get_secret_value() == secret
    listed = on("callbacks")
    assert "https://crm.example.com" in listed.out
    for shown in (listed.out, on("callbacks", "list", "--json").out, said.out):
        assert "of-the-path" not in shown
    assert secret not in listed.out
    assert on("callbacks", "add", "crm", ADDRESS).code == 1


def test_a_secret_can_be_given_and_replaced(on: Truetick, office: Office) -> None:
    added = on("callbacks", "add", "crm", ADDRESS, "--secret", "-", stdin=SECRET + "\n")
    kept = office.parts.vault.open(office.endpoint().secret_encrypted).get_secret_value()
    replaced = on("callbacks", "set-secret", "crm", "--json")

    assert (added.code, kept) == (0, SECRET)
    assert SECRET not in added.out
    made = replaced.json["secret"]
    assert office.parts.vault.open(office.endpoint().secret_encrypted).get_secret_value() == made != SECRET


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["crm", "ftp://crm.example.com"], "https://"),
        (["crm", "https://user:pass@crm.example.com/"], "user name and password"),
        (["crm", "https://crm.example.com/#top"], '"#"'),
        (["crm", "https://"], "https://"),
        (["crm", "https://crm.example.com/" + "x" * 3000], "2048"),
        (["crm", "http://crm.example.com:99999999/"], "anybody could call"),
        (["crm", "celery:on_status"], "celery:TASK@QUEUE"),
        (["crm", "celery:crm.on_status@celery"], "queue of its own"),
        (["crm", "celery:crm.on_status@truetick.upkeep"], "queue of its own"),
        (["crm", "celery:crm.on_status@crm", "--secret", SECRET], "not signed"),
        (["crm", ADDRESS, "--secret", "too-short"], "24 to 64 random bytes"),
        (["Not a name", ADDRESS], "cannot be an endpoint's name"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_with_a_reason(
    on: Truetick, office: Office, arguments: list[str], words: str
) -> None:
    said = on("callbacks", "add", *arguments)
    assert said.code == 1
    assert words in said.err
    assert "too-short" not in said.err
    assert office.desk.read(select(Endpoint.id)) == []


def test_a_test_callback_says_what_the_endpoint_answered(on: Truetick, office: Office, receiver: Receiver) -> None:
    office.add(receiver.url)

    taken = on("callbacks", "test", "crm")
    receiver.behave = lambda _: answering(503)
    refused = on("callbacks", "test", "crm", "--json")
    unknown = on("callbacks", "test", "crn")

    assert (taken.code, refused.code, unknown.code) == (0, 1, 1)
    assert receiver.unverified == 0
    assert '"truetick.test"' in receiver.heard[0].body
    assert "answered 503" in refused.json["problem"]
    assert "Known endpoints: crm." in unknown.err


def test_the_environment_s_endpoint_can_be_tested_before_a_worker_has_run(
    on: Truetick, office: Office, receiver: Receiver
) -> None:
    given = {"TRUETICK_CALLBACK_URL": receiver.url, "TRUETICK_CALLBACK_SECRET": SECRET}

    taken = on("callbacks", "test", "default", **given)
    unsigned = on("callbacks", "test", "default", TRUETICK_CALLBACK_URL=receiver.url)
    listed = on("callbacks", **given)

    assert (taken.code, unsigned.code, len(receiver.heard)) == (0, 1, 1)
    assert "set TRUETICK_CALLBACK_SECRET" in unsigned.err
    assert "as soon as a worker runs" in listed.out


def test_what_is_pending_and_parked_is_listed_and_can_be_replayed(
    on: Truetick, office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    receiver.behave = lambda _: answering(500)
    message = office.message(SENT, DELIVERED)
    office.tell()
    pending = on("callbacks", "pending", "--json")
    office.wait(days=1)
    office.tell()
    parked = on("callbacks", "parked", "crm", "--json")
    listed = on("callbacks")
    none_since = on("callbacks", "replay", "crm", "--since", (office.desk.now + timedelta(days=1)).isoformat())
    replayed = on("callbacks", "replay", "crm", "--json")

    assert [(one["message_id"], one["status"], one["tries"]) for one in pending.json["callbacks"]] == [
        (message, "sent", 1),
        (message, "delivered", 0),
    ]
    assert [one["status"] for one in parked.json["callbacks"]] == ["sent", "delivered"]
    assert "answered 500" in parked.json["callbacks"][0]["problem"]
    assert "truetick callbacks replay crm" in listed.out
    assert "No callback to crm is parked" in none_since.out
    assert (replayed.code, replayed.json) == (0, {"endpoint": "crm", "replayed": 2})
    receiver.behave = lambda _: OK
    office.tell()
    assert receiver.statuses(message) == ["sent", "delivered"]
    assert on("callbacks", "replay", "crm", "--since", "yesterday").code == 2


def test_an_endpoint_is_removed_with_all_that_it_was_not_told_only_if_that_is_meant(
    on: Truetick, office: Office, receiver: Receiver
) -> None:
    office.add(receiver.url)
    receiver.down()
    office.message(SENT)
    office.tell()

    hesitant, meant = on("callbacks", "remove", "crm"), on("callbacks", "remove", "crm", "--yes")

    assert (hesitant.code, meant.code) == (1, 0)
    assert "has not been told 1 change, which" in hesitant.err
    assert office.desk.read(select(Endpoint.id)) == []
    assert "There is no endpoint yet" in on("callbacks").out
