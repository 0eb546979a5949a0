"""What WaSender says when it is asked becomes evidence, or honestly no information."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.strategies import bodies
from worker.domain.evidence import Ack, Connection, ConnectionReport, MessageInfo
from worker.gateway.reports import classify_info, classify_status, read_ack

KEY_ID = "3EB0A1B2C3D4E5F60718"
JID = "971500000001@s.whatsapp.net"


def info(status: int, body: object) -> MessageInfo:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_info(status, raw, gateway_msg_id=7)


def connection(status: int, body: object) -> ConnectionReport:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify_status(status, raw, secrets=("c0ffee",))


def about(**data: object) -> dict[str, object]:
    return {"success": True, "data": data}


@pytest.mark.parametrize(
    ("value", "ack"),
    [
        *((number, Ack(number)) for number in range(6)),
        *((str(number), Ack(number)) for number in range(6)),
        ("sent", Ack.SERVER),
        ("DELIVERED", Ack.DEVICE),
        (" Read ", Ack.READ),
        ("played", Ack.PLAYED),
        ("ERROR", Ack.ERROR),
        ("pending", Ack.PENDING),
        ("SERVER_ACK", Ack.SERVER),
        ("delivery_ack", Ack.DEVICE),
        (6, None),
        (-1, None),
        (True, None),
        (2.0, None),
        ("6", None),
        ("٣", None),
        ("in_progress", None),
        ("failed", None),
        ("", None),
        (None, None),
        ([2], None),
        ({}, None),
    ],
)
def test_an_acknowledgement_is_a_number_or_a_word(value: object, ack: Ack | None) -> None:
    assert read_ack(value) == ack


def test_info_carries_the_tick_and_both_identities() -> None:
    body = about(remoteJid="x", id="y", msgId=7, key={"id": KEY_ID, "fromMe": True, "remoteJid": JID}, status=3)
    assert info(200, body) == MessageInfo(ack=Ack.DEVICE, whatsapp_key_id=KEY_ID, whatsapp_jid=JID)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, about(status=1), MessageInfo(ack=Ack.PENDING)),
        (200, about(status=2, key={}), MessageInfo(ack=Ack.SERVER)),
        (200, about(status=2, key={"id": ""}), MessageInfo(ack=Ack.SERVER)),
        (200, about(status=2, key=[], id=KEY_ID), MessageInfo(ack=Ack.SERVER, whatsapp_key_id=KEY_ID)),
        (200, about(status=2, msgId="7"), MessageInfo(ack=Ack.SERVER)),
        (
            200,
            about(key={"id": KEY_ID}),
            MessageInfo(ack=None, whatsapp_key_id=KEY_ID, problem="no_status"),
        ),
        (200, about(status=9), MessageInfo(ack=None, problem="no_status")),
        (200, about(status=4, msgId=8), MessageInfo(ack=None, problem="unreadable_answer")),
        (200, {"data": {"status": 4}}, MessageInfo(ack=None, problem="unreadable_answer")),
        (200, {"success": True, "data": None}, MessageInfo(ack=None, problem="unreadable_answer")),
        (200, b"<html>", MessageInfo(ack=None, problem="unreadable_answer")),
        (200, b"[" * 100_000, MessageInfo(ack=None, problem="unreadable_answer")),
        (200, {"success": False, "error": "Message not found"}, MessageInfo(ack=None, problem="no_information")),
        (404, {"success": False}, MessageInfo(ack=None, problem="no_information")),
        (403, {"success": False}, MessageInfo(ack=None, problem="no_information")),
        (404, b"<html>", MessageInfo(ack=None, problem="no_information")),
        (401, {"success": False, "message": "invalid API key"}, MessageInfo(ack=None, problem="bad_key")),
        (429, {"message": "Too Many Attempts."}, MessageInfo(ack=None, problem="throttled")),
        (
            200,
            {"success": False, "message": "Session is not connected"},
            MessageInfo(ack=None, problem="channel_down"),
        ),
        (502, b"<html>", MessageInfo(ack=None, problem="gateway_error")),
        (302, b"", MessageInfo(ack=None, problem="wrong_gateway_address")),
    ],
)
def test_no_information_is_never_a_failure(status: int, body: object, expected: MessageInfo) -> None:
    assert info(status, body) == expected


@pytest.mark.parametrize(
    ("status", "body", "expected", "word"),
    [
        (200, {"status": "connected"}, Connection.CONNECTED, "connected"),
        (200, {"status": "CONNECTED"}, Connection.CONNECTED, "connected"),
        (200, {"success": True, "data": {"status": "Connected"}}, Connection.CONNECTED, "connected"),
        (200, {"status": "NEED_SCAN"}, Connection.NOT_CONNECTED, "need_scan"),
        (200, {"status": "logged_out", "extra": 1}, Connection.NOT_CONNECTED, "logged_out"),
        (200, {"success": False, "status": "disconnected"}, Connection.NOT_CONNECTED, "disconnected"),
        (409, {"success": False, "status": "DISCONNECTED"}, Connection.NOT_CONNECTED, "disconnected"),
        (200, {"status": "Sleeping Beauty"}, Connection.NOT_CONNECTED, "Sleeping Beauty"),
        (200, {"status": "w " * 500}, Connection.NOT_CONNECTED, ("w " * 500)[:39] + "…"),
        (200, {"status": "key c0ffee"}, Connection.NOT_CONNECTED, "key [masked]"),
        (
            200,
            {"success": False, "message": "Session is not connected"},
            Connection.NOT_CONNECTED,
            "disconnected",
        ),
        (401, {"success": False, "message": "Session not found …"}, Connection.REFUSED, "bad_key"),
        (401, b"", Connection.REFUSED, "bad_key"),
        (200, {"success": False, "message": "invalid API key"}, Connection.REFUSED, "bad_key"),
        (401, {"message": "requires a personal access token"}, Connection.REFUSED, "wrong_credential"),
        (403, {"message": "Active subscription … required"}, Connection.REFUSED, "no_subscription"),
        (402, {"success": False}, Connection.REFUSED, "no_subscription"),
        (403, b"<html>blocked</html>", Connection.UNVERIFIED, "unreadable_answer"),
        (200, {"success": False, "status": "connected"}, Connection.UNVERIFIED, "unreadable_answer"),
        (500, {"status": "connected"}, Connection.UNVERIFIED, "gateway_error"),
        (200, {"status": ["connected"]}, Connection.UNVERIFIED, "unreadable_answer"),
        (200, {"status": ""}, Connection.UNVERIFIED, "unreadable_answer"),
        (200, {}, Connection.UNVERIFIED, "unreadable_answer"),
        (200, ["connected"], Connection.UNVERIFIED, "unreadable_answer"),
        (200, b"<html>", Connection.UNVERIFIED, "unreadable_answer"),
        (200, b"", Connection.UNVERIFIED, "unreadable_answer"),
        (404, b"<html>", Connection.UNVERIFIED, "wrong_gateway_address"),
        (302, b"", Connection.UNVERIFIED, "wrong_gateway_address"),
        (429, {"message": "Too Many Attempts."}, Connection.UNVERIFIED, "throttled"),
        (520, b"<html>", Connection.UNVERIFIED, "gateway_error"),
    ],
)
def test_only_a_clear_word_says_connected(status: int, body: object, expected: Connection, word: str) -> None:
    assert connection(status, body) == ConnectionReport(connection=expected, word=word)


@settings(max_examples=200, deadline=None)
@given(status=st.integers(100, 999) | st.just(200), body=bodies)
def test_any_answer_can_be_reported(status: int, body: bytes) -> None:
    found = classify_info(status, body, gateway_msg_id=7)
    assert found.ack is None or 200 <= status < 300
    assert len(found.whatsapp_key_id or "") <= 128
    assert len(found.whatsapp_jid or "") <= 128
    report = classify_status(status, body)
    assert 0 < len(report.word) <= 40
    assert report.connection is not Connection.CONNECTED or 200 <= status < 300
