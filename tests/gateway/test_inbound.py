"""What people write is read for a wish only: in every shape webhooks have, and never of the wrong person."""

from typing import Any

import pytest

from tests.gateway.test_webhooks import KEY_ID, SESSION_KEY, body
from worker.domain.opt_out import Wish, WishWords
from worker.domain.webhook_fact import Fact, WishSeen, from_said, to_said
from worker.gateway.lids import LidAnswer, classify_lid
from worker.gateway.webhooks import read_webhook

WORDS = WishWords.of(["stop", "रोको"], ["start"])
ALICE, LID = "+917033009600", "55512345678@lid"
RECEIVED = ("messages.received", "messages-personal.received", "messages.upsert")


def read(event: str, data: object) -> list[Fact]:
    return list(read_webhook(body(event, data), WORDS))


def message(text: str = "STOP", **parts: Any) -> dict[str, Any]:
    key = {"id": KEY_ID, "fromMe": False, "remoteJid": "917033009600@s.whatsapp.net"} | parts.pop("key", {})
    return {
        "key": key,
        "messageTimestamp": 1753700390,
        "messageBody": text,
        "message": {"conversation": text},
    } | parts


def wish(**parts: Any) -> WishSeen:
    told: dict[str, Any] = {
        "whatsapp_key_id": KEY_ID,
        "sender": ALICE,
        "lid": None,
        "wish": Wish.STOP,
        "word": "stop",
        "written_at": 1753700390,
    }
    return WishSeen(**told | parts)


@pytest.mark.parametrize("event", RECEIVED)
@pytest.mark.parametrize("shape", ["list", "object", "bare"])
def test_a_wish_is_read_in_each_event_and_shape(event: str, shape: str) -> None:
    data = {"list": {"messages": [message()]}, "object": {"messages": message()}, "bare": message()}[shape]
    assert read(event, data) == [wish()]


@pytest.mark.parametrize(
    ("key", "sender", "lid"),
    [
        ({"cleanedSenderPn": "917033009600", "remoteJid": LID}, ALICE, LID),
        ({"cleanedSenderPn": "+917033009600", "senderPn": "4915112345678@s.whatsapp.net"}, ALICE, None),
        ({"cleanedSenderPn": "", "senderPn": "917033009600@c.us", "remoteJid": LID}, ALICE, LID),
        ({"cleanedSenderPn": None, "senderPn": None, "senderLid": LID}, ALICE, LID),
        ({"remoteJid": "917033009600:12@s.whatsapp.net"}, ALICE, None),
        ({"remoteJid": "55512345678:3@lid"}, None, LID),
        ({"remoteJid": LID, "cleanedSenderPn": "55512345678@lid"}, None, LID),
        ({"remoteJid": "5215512345678@s.whatsapp.net"}, "+525512345678", None),
        ({"remoteJid": "551187654321@s.whatsapp.net"}, "+5511987654321", None),
        ({"remoteJid": "5511987654321@s.whatsapp.net"}, "+5511987654321", None),
        ({"remoteJid": "551133334444@s.whatsapp.net"}, "+551133334444", None),
    ],
)
def test_the_sender_is_known_by_the_best_place_that_has_a_number(
    key: dict[str, Any], sender: str | None, lid: str | None
) -> None:
    assert read("messages.received", message(key=key)) == [wish(sender=sender, lid=lid)]


@pytest.mark.parametrize(
    "entry",
    [
        {"messageBody": "STOP", "message": {"conversation": "not that one"}},
        {"messageBody": "", "message": {"extendedTextMessage": {"text": "stop."}}},
        {"messageBody": None, "message": {"imageMessage": {"caption": " STOP 🛑"}}},
        {"messageBody": None, "message": {"ephemeralMessage": {"message": {"conversation": "Stop"}}}},
        {
            "messageBody": None,
            "message": {"documentWithCaptionMessage": {"message": {"documentMessage": {"caption": "STOP"}}}},
        },
        {"messageBody": None, "message": {"editedMessage": {"message": {"conversation": "stop"}}}},
    ],
)
def test_the_word_is_found_wherever_a_text_can_stand(entry: dict[str, Any]) -> None:
    assert read("messages.received", message(**entry)) == [wish()]


@pytest.mark.parametrize(
    "entry",
    [
        message("please stop"),
        message(""),
        message(key={"fromMe": True}),
        message(key={"remoteJid": "120363025246125016@g.us", "participantPn": "917033009600@s.whatsapp.net"}),
        message(key={"remoteJid": "120363025246125016@g.us", "cleanedSenderPn": "917033009600"}),
        message(key={"remoteJid": "status@broadcast", "cleanedSenderPn": "917033009600"}),
        message(key={"remoteJid": "120363025246125016@newsletter"}),
        message(key={"remoteJid": "nobody"}),
        message(key={"remoteJid": None}),
        message(key={"id": None}),
        {"messageBody": "STOP"},
        {"key": "STOP", "messageBody": "STOP"},
        None,
        "STOP",
    ],
)
@pytest.mark.parametrize("event", RECEIVED)
def test_all_else_tells_nothing(event: str, entry: object) -> None:
    assert [fact for fact in read(event, {"messages": entry}) if isinstance(fact, WishSeen)] == []


@pytest.mark.parametrize("from_me", [None, "true", 0])
def test_a_message_of_which_nobody_knows_who_wrote_it_is_no_wish(from_me: object) -> None:
    assert read("messages.upsert", message(key={"fromMe": from_me})) == []


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("1753700390", 1753700390),
        (1753700390123, 1753700390),
        (None, None),
        (-5, None),
        (True, None),
        ({"low": 1}, None),
    ],
)
def test_when_it_was_written_is_read_in_each_unit(told: object, seconds: int | None) -> None:
    assert read("messages.received", message(messageTimestamp=told)) == [wish(written_at=seconds)]


@pytest.mark.parametrize(
    ("key", "jid"),
    [
        ({"remoteJid": "551187654321:7@s.whatsapp.net"}, "551187654321@s.whatsapp.net"),
        ({"remoteJid": LID, "senderPn": "5215512345678@c.us"}, "5215512345678@s.whatsapp.net"),
        ({"remoteJid": LID, "cleanedSenderPn": "917033009600"}, None),
    ],
)
def test_the_address_is_kept_as_whatsapp_spells_it(key: dict[str, Any], jid: str | None) -> None:
    [fact] = read("messages.received", message(key=key))
    assert isinstance(fact, WishSeen)
    assert fact.jid == jid
    assert from_said(fact.kind, to_said(fact)) == fact
    assert getattr(from_said(fact.kind, to_said(fact)), "jid", None) == jid


def test_without_words_nothing_that_comes_in_is_looked_at() -> None:
    assert read_webhook(body("messages.received", message())) == ()


def test_a_fact_holds_neither_text_nor_credential_and_shows_no_number() -> None:
    [fact] = read("messages.received", message("  रोको!! 🛑"))
    assert isinstance(fact, WishSeen)
    assert fact.word == "रोको"
    assert "7033009600" not in repr(fact)
    assert read("messages.received", message(key={"id": SESSION_KEY})) == []


# Who is behind a LID


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (
            200,
            '{"success": true, "data": {"pn": "917033009600@s.whatsapp.net"}}',
            LidAnswer(number=ALICE, answered=True),
        ),
        (200, '{"success": true, "data": {"phone": "+917033009600"}}', LidAnswer(number=ALICE, answered=True)),
        (200, '{"success": true, "data": "917033009600"}', LidAnswer(number=ALICE, answered=True)),
        (200, '{"success": true, "data": {"pn": null}}', LidAnswer(answered=True)),
        (200, '{"success": true, "data": {"pn": "55512345678@lid"}}', LidAnswer(answered=True)),
        (404, '{"success": false, "message": "Phone number not found."}', LidAnswer(answered=True)),
        (404, "<html>nginx</html>", LidAnswer(answered=False)),
        (200, '{"success": false, "message": "WhatsApp session is not connected"}', LidAnswer(answered=False)),
        (401, '{"success": false, "message": "Invalid API key"}', LidAnswer(answered=False)),
        (429, '{"success": false, "message": "Too many requests"}', LidAnswer(answered=False)),
        (502, "", LidAnswer(answered=False)),
    ],
)
def test_only_a_clear_answer_says_that_nobody_knows_the_number(status: int, answer: str, expected: LidAnswer) -> None:
    assert classify_lid(status, answer.encode()) == expected
