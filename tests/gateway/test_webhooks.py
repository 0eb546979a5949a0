"""WaSender's webhooks in each shape they have become facts; everything else becomes nothing, or a refusal."""

import json
from typing import Any

import pytest

from wasender_sandbox.events import lid_of
from worker.domain.errors import InvalidRequest
from worker.domain.evidence import Ack
from worker.domain.text_digest import text_digest
from worker.domain.webhook_fact import Fact, SendFailed, SentSeen, SessionChanged, TickSeen
from worker.gateway.webhooks import MOST_FACTS, read_webhook

SESSION_KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
KEY_ID = "3EB0A1B2C3D4E5F60718"
JID = "917033009600@s.whatsapp.net"
ALICE = "+917033009600"
HELLO = text_digest("Hello")


def body(event: object, data: object, **envelope: object) -> bytes:
    return json.dumps({"event": event, "sessionId": SESSION_KEY, "data": data} | envelope).encode()


def read(event: str, data: object, **envelope: object) -> list[Fact]:
    return list(read_webhook(body(event, data, **envelope)))


def key(**parts: Any) -> dict[str, Any]:
    return {"id": KEY_ID, "remoteJid": JID, "fromMe": True} | parts


# Ticks


def tick(status: object, **parts: Any) -> dict[str, Any]:
    return {"update": {"status": status}, "key": key(**parts)}


@pytest.mark.parametrize(
    ("status", "ack"),
    [
        (0, Ack.ERROR),
        (2, Ack.SERVER),
        (5, Ack.PLAYED),
        ("3", Ack.DEVICE),
        ("delivered", Ack.DEVICE),
        ("READ", Ack.READ),
        ("DELIVERY_ACK", Ack.DEVICE),
    ],
)
@pytest.mark.parametrize("in_a_list", [False, True])
def test_a_tick_is_read_in_each_spelling_of_its_status(status: object, ack: Ack, in_a_list: bool) -> None:
    entry = tick(status)

    facts = read("messages.update", [entry] if in_a_list else entry)

    assert facts == [TickSeen(whatsapp_key_id=KEY_ID, whatsapp_jid=JID, ack=ack)]


@pytest.mark.parametrize(
    "envelope", [{}, {"timestamp": 1633456790}, {"timestamp": 1747775431467}, {"timestamp": "?"}]
)
@pytest.mark.parametrize("from_me", [True, False, None])
def test_neither_the_timestamp_nor_from_me_decides_about_a_tick(envelope: dict[str, Any], from_me: object) -> None:
    assert read("messages.update", tick(2, fromMe=from_me), **envelope) == [
        TickSeen(whatsapp_key_id=KEY_ID, whatsapp_jid=JID, ack=Ack.SERVER)
    ]


@pytest.mark.parametrize("jid", ["555@lid", "+917033009600", "12345-67890@g.us"])
def test_a_tick_names_the_recipient_as_the_webhook_does(jid: str) -> None:
    [fact] = read("messages.update", tick(2, remoteJid=jid))

    assert isinstance(fact, TickSeen)
    assert fact.whatsapp_jid == jid


@pytest.mark.parametrize(
    "useless",
    [
        {"update": {"message": {}}, "key": key()},
        {"update": {"status": 6}, "key": key()},
        {"update": {"status": True}, "key": key()},
        {"update": {"status": "on its way"}, "key": key()},
        {"update": {"status": 2}},
        {"update": {"status": 2}, "key": {}},
        {"update": {"status": 2}, "key": key(id="")},
        {"update": {"status": 2}, "key": key(id=17)},
        {"update": {"status": 2}, "key": key(id="3EB0\u0000")},
        {"update": {"status": 2}, "key": key(id="3" * 129)},
        {"update": 2, "key": KEY_ID},
        {},
        None,
        "3",
    ],
)
def test_an_entry_without_status_or_id_is_passed_over_and_the_next_one_read(useless: object) -> None:
    facts = read("messages.update", [useless, tick(3, id="next")])

    assert facts == [TickSeen(whatsapp_key_id="next", whatsapp_jid=JID, ack=Ack.DEVICE)]
    assert read("messages.update", useless) == []


def test_a_fact_that_stands_in_a_body_twice_is_given_once_and_no_body_gives_more_than_the_most() -> None:
    assert len(read("messages.update", [tick(2), tick(2), tick(3)])) == 2
    assert len(read("messages.update", [tick(2, id=str(number)) for number in range(2_000)])) == MOST_FACTS


# Messages that went out


def sent(**parts: Any) -> SentSeen:
    return SentSeen(
        **{
            "whatsapp_key_id": KEY_ID,
            "whatsapp_jid": JID,
            "recipient": ALICE,
            "text_digest": HELLO,
            "gateway_msg_id": None,
        }
        | parts
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"success": True}, sent()),
        ({}, sent()),
        ({"success": True, "msgId": 58224349}, sent(gateway_msg_id=58224349)),
        ({"msgId": "58224349"}, sent(gateway_msg_id=58224349)),
        ({"key": key(msgId=2**40)}, sent(gateway_msg_id=2**40)),
        ({"msgId": 0, "key": key(msgId=True)}, sent()),
        ({"key": {"id": KEY_ID}}, sent(whatsapp_jid=None, recipient=None)),
    ],
)
def test_a_message_sent_is_known_by_its_id_recipient_and_text(entry: dict[str, Any], expected: SentSeen) -> None:
    assert read("message.sent", {"key": key(), "message": {"conversation": "Hello"}} | entry) == [expected]


@pytest.mark.parametrize(
    ("jid", "recipient"),
    [
        (ALICE, ALICE),
        ("917033009600", ALICE),
        ("917033009600:12@s.whatsapp.net", ALICE),
        ("917033009600@c.us", ALICE),
        ("120363025246125016@g.us", "120363025246125016@g.us"),
        ("120363025246125016@newsletter", "120363025246125016@newsletter"),
        # Mexicans are still written with a 1 that their numbers have lost; a number of no plan stays as it is.
        ("5215512345678@s.whatsapp.net", "+525512345678"),
        ("551187654@s.whatsapp.net", "+551187654"),
        (lid_of("917033009600"), None),
        ("somebody", None),
        ("@somebody", None),
        ("17@s.whatsapp.net", None),
    ],
)
def test_each_spelling_of_the_recipient_is_the_address_that_our_message_has(jid: str, recipient: str | None) -> None:
    entry = {"key": key(remoteJid=jid), "message": {"conversation": "Hello"}}

    assert read("message.sent", entry) == [sent(whatsapp_jid=jid, recipient=recipient)]


@pytest.mark.parametrize("shape", ["list", "object", "bare"])
def test_an_upsert_tells_of_own_messages_in_each_shape(shape: str) -> None:
    entry = {"key": key(), "messageBody": "Hello", "message": {}, "messageTimestamp": "1753700390"}
    data = {"list": {"messages": [entry]}, "object": {"messages": entry}, "bare": entry}[shape]

    assert read("messages.upsert", data) == [sent()]


@pytest.mark.parametrize("from_me", [False, None, "true"])
def test_an_upsert_of_what_came_in_tells_nothing(from_me: object) -> None:
    entry = {"key": key(fromMe=from_me), "messageBody": "STOP", "message": {"conversation": "STOP"}}

    assert read("messages.upsert", {"messages": [entry]}) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"messageBody": "Hello", "message": {"conversation": "other"}},
        {"messageBody": "", "message": {"conversation": "Hello"}},
        {"message": {"extendedTextMessage": {"text": "Hello"}}},
        {"message": {"imageMessage": {"caption": "Hello"}}},
        {"message": {"videoMessage": {"caption": "Hello"}}},
        {"messageBody": None, "message": {"documentMessage": {"caption": "Hello"}}},
        {"message": {"ephemeralMessage": {"message": {"extendedTextMessage": {"text": "Hello"}}}}},
        {"message": {"viewOnceMessage": {"message": {"imageMessage": {"caption": "Hello"}}}}},
        {"message": {"viewOnceMessageV2": {"message": {"imageMessage": {"caption": "Hello"}}}}},
        {"message": {"viewOnceMessageV2Extension": {"message": {"imageMessage": {"caption": "Hello"}}}}},
        {"message": {"documentWithCaptionMessage": {"message": {"documentMessage": {"caption": " Hello\n"}}}}},
        {"message": {"ephemeralMessage": {"message": {"viewOnceMessage": {"message": {"conversation": "Hello"}}}}}},
    ],
)
@pytest.mark.parametrize("event", ["message.sent", "messages.upsert"])
def test_the_text_is_found_wherever_it_stands(event: str, entry: dict[str, Any]) -> None:
    assert read(event, {"key": key()} | entry) == [sent()]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"audioMessage": {"url": "https://example.com/a.ogg"}},
        {"imageMessage": {"caption": None}},
        {"contactMessage": {"displayName": "Asha"}},
        {"locationMessage": {"name": "Office"}},
        {"pollCreationMessage": {"name": "Tea?"}},
        {"ephemeralMessage": "Hello"},
        {"conversation": " \n"},
    ],
)
def test_a_message_without_text_has_no_digest(message: dict[str, Any]) -> None:
    assert read("message.sent", {"key": key(), "message": message, "success": True}) == [sent(text_digest=None)]


@pytest.mark.parametrize(
    "entry",
    [
        {"key": key(), "message": {"protocolMessage": {"key": key(id="other"), "type": 14}}},
        {"key": key(), "message": {"reactionMessage": {"text": "+1"}}},
        {"key": key(remoteJid="status@broadcast"), "message": {"conversation": "Hello"}},
        {"message": {"conversation": "Hello"}},
        {"key": key(id=None), "message": {"conversation": "Hello"}},
    ],
)
def test_what_is_no_message_of_ours_is_passed_over(entry: dict[str, Any]) -> None:
    assert read("message.sent", entry) == []


# Failures and states


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"error": "Failed to send message: Invalid number JID: +917033009600"}, [SendFailed(recipient=ALICE)]),
        ({"error": "Invalid number JID: 917033009600@s.whatsapp.net."}, [SendFailed(recipient=ALICE)]),
        ({"error": "Invalid JID: +123456787"}, [SendFailed(recipient="+123456787")]),
        ({"error": "+917033009600 is not on WhatsApp (+917033009600)"}, [SendFailed(recipient=ALICE)]),
        ({"message": "No such group: 120363025246125016@g.us"}, [SendFailed(recipient="120363025246125016@g.us")]),
        ({"error": "neither +917033009600 nor +917033009601"}, []),
        ({"error": "timed out", "msgId": 17}, [SendFailed(gateway_msg_id=17)]),
        ({"error": "timed out", "key": key(msgId=17)}, [SendFailed(recipient=ALICE, gateway_msg_id=17)]),
        ({"error": "timed out"}, []),
        ({"error": f"no session {SESSION_KEY}"}, []),
        ({}, []),
    ],
)
def test_a_failure_is_known_by_the_number_in_its_text_at_the_best(data: dict[str, Any], expected: list[Fact]) -> None:
    assert read("message.sent", {"success": False} | data) == expected


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"status": "need_scan"}, "need_scan"),
        ({"status": "NEED_SCAN", "session_id": "session-id-123"}, "need_scan"),
        ({"status": "Logged out", "reason": "phone"}, "logged_out"),
        ({"status": "con\x00necting"}, "con_necting"),
        ([{"status": "connected"}], "connected"),
        ({"status": "x" * 300}, "[masked]"),
    ],
)
def test_a_changed_session_gives_one_bounded_word(data: object, word: str) -> None:
    assert read("session.status", data) == [SessionChanged(word=word)]
    assert read("session.status", data, timestamp=1633456789) == [SessionChanged(word=word)]


@pytest.mark.parametrize(
    "event",
    [
        "messages.received",
        "messages-personal.received",
        "message-receipt.update",
        "qrcode.updated",
        "passkey.updated",
        "call",
        "chats.upsert",
        "test",
        "",
        "no such event",
    ],
)
@pytest.mark.parametrize("data", [None, [], {"qr": "2@secret", "status": "connected"}, tick(2)])
def test_events_that_tell_us_nothing_give_no_facts_and_are_no_error(event: str, data: object) -> None:
    assert read(event, data) == []
    assert read_webhook(json.dumps({"event": event}).encode()) == ()


# What is no webhook


@pytest.mark.parametrize(
    "given_body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"messages.update"',
        b"\xff\xfe",
        b'{"event": "\xff"}',
        b'{"event": NaN}',
        b'{"event": "messages.update", "timestamp": NaN}',
        b'{"event": "messages.update", "timestamp": -Infinity}',
        b"{}",
        b'{"data": {}}',
        b'{"event": null}',
        b'{"event": 7}',
        b'{"event": ["messages.update"]}',
        b'[{"event": "messages.update"}]',
        b"[" * 100_000,
        b'{"event":' * 50_000,
        b'{"event": "messages.update", "timestamp": ' + b"1" * 5_000 + b"}",
        b"event=messages.update",
    ],
)
def test_what_is_no_object_with_an_event_is_refused(given_body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_webhook(given_body)

    assert refused.value.code == "bad_webhook"
