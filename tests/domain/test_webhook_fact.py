"""Facts as they are stored, and the digest by which a text is known again."""

import json
from typing import Any

import pytest

from worker.domain.errors import InvalidRequest
from worker.domain.evidence import Ack
from worker.domain.opt_out import Wish
from worker.domain.text_digest import digest_of_content, text_digest
from worker.domain.webhook_fact import (
    Fact,
    SendFailed,
    SentSeen,
    SessionChanged,
    TickSeen,
    WishSeen,
    from_said,
    to_said,
)

HELLO = text_digest("Hello")
ALICE, JID = "+917033009600", "917033009600@s.whatsapp.net"
FACTS: list[Fact] = [
    TickSeen(whatsapp_key_id="3EB0", whatsapp_jid=JID, ack=Ack.READ),
    TickSeen(whatsapp_key_id="3EB0", ack=Ack.ERROR),
    SentSeen(whatsapp_key_id="3EB0", whatsapp_jid=JID, recipient=ALICE, text_digest=HELLO, gateway_msg_id=2**40),
    SentSeen(whatsapp_key_id="3EB0"),
    SendFailed(recipient=ALICE),
    SessionChanged(word="need_scan"),
    WishSeen(whatsapp_key_id="3EB0", sender=ALICE, wish=Wish.STOP, word="stop", written_at=1753700390),
    WishSeen(whatsapp_key_id="3EB0", lid="55512345678@lid", wish=Wish.START, word="start"),
]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("weather", {}),
        ("tick", {}),
        ("tick", {"whatsapp_key_id": "3EB0", "ack": 9}),
        ("tick", {"whatsapp_key_id": "3EB0", "ack": None}),
        ("wish", {"whatsapp_key_id": "3EB0", "wish": "perhaps", "word": "maybe"}),
    ],
)
def test_a_stored_fact_of_another_program_is_refused_by_name(kind: str, said: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        from_said(kind, said)

    assert refused.value.code == "unknown_fact"


def test_a_fact_shows_neither_number_nor_digest_of_a_text() -> None:
    shown = repr(FACTS)

    assert "7033009600" not in shown
    assert HELLO not in shown


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_survives_being_stored(fact: Fact) -> None:
    assert from_said(fact.kind, json.loads(json.dumps(to_said(fact)))) == fact


def test_what_a_newer_program_adds_to_a_stored_fact_is_passed_over() -> None:
    assert from_said("session", {"word": "connected", "since": "noon"}) == SessionChanged(word="connected")


def test_a_text_has_the_digest_of_what_was_sent_however_it_comes_back() -> None:
    assert text_digest("Grüße\n") == text_digest(" Gru\u0308ße") == digest_of_content({"text": "Grüße"})
    assert text_digest("Grüße") != text_digest("Grüsse")
    assert len(text_digest("\ud800")) == 64


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"text": "Hello"}, HELLO),
        ({"image_url": "https://example.com/a.png", "text": "Hello"}, HELLO),
        ({"image_url": "https://example.com/a.png", "text": None}, None),
        ({"audio_url": "https://example.com/a.ogg"}, None),
        ({"location": {"latitude": 1, "longitude": 2}, "text": "Hello"}, None),
        ({"poll": {"question": "Tea?", "options": ["a", "b"]}, "text": "Hello"}, None),
        ({"contact": {"name": "Asha", "phone": "+917033009601"}}, None),
        ({"text": " "}, None),
    ],
)
def test_a_content_has_the_digest_of_its_text(content: dict[str, Any], expected: str | None) -> None:
    assert digest_of_content(content) == expected
