"""Status, message info, edit and delete, number look-ups, upload: everything that does not send."""

import base64
from typing import Any

import pytest

from wasender_sandbox.control import Sandbox

TO = "+919876543210"
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 32


def test_status_is_a_bare_object_and_can_lie(sandbox: Sandbox, caller: Any, account: Any) -> None:
    sandbox.set_status("sales", "expired")
    assert caller.get("/status").json() == {"status": "expired"}

    sandbox.lie("sales", "connected")
    assert caller.get("/status").json() == {"status": "connected"}
    assert account.get("/whatsapp-sessions/501").json()["data"]["status"] == "connected"
    assert caller.send().json()["success"] is False, "the send tells the truth"

    sandbox.lie("sales", None)
    assert caller.get("/status").json() == {"status": "expired"}


def test_status_has_its_own_words_for_an_unknown_key(sandbox: Sandbox, caller: Any) -> None:
    answer = type(caller)(sandbox.api_url, "wrong").get("/status")

    assert answer.status_code == 401
    assert answer.json()["message"] == "Session not found for the provided API key"


@pytest.mark.parametrize("word", ["banned", "need_passkey", "connecting", "DISCONNECTED"])
def test_every_status_can_be_set(sandbox: Sandbox, caller: Any, word: str) -> None:
    sandbox.set_status("sales", word)

    shown = "logged_out" if word == "banned" else word.lower()
    assert caller.get("/status").json() == {"status": shown}


def test_info_is_the_documented_object(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    msg_id = caller.accept()
    eventually(lambda: sandbox.ledger()[0].delivered_at)

    answer = caller.get(f"/messages/{msg_id}/info").json()

    [entry] = sandbox.ledger()
    jid = "919876543210@s.whatsapp.net"
    assert answer == {
        "success": True,
        "data": {
            "remoteJid": jid,
            "id": entry.key_id,
            "msgId": msg_id,
            "key": {"id": entry.key_id, "fromMe": True, "remoteJid": jid},
            "message": {"conversation": "Hello"},
            "messageTimestamp": str(int(entry.acked_at or 0)),
            "status": 3,
        },
    }


@pytest.mark.parametrize(
    ("mode", "code", "key"), [("no_key", 200, False), ("not_found", 404, False), ("with_key", 200, True)]
)
def test_info_before_the_tick(sandbox: Sandbox, caller: Any, mode: str, code: int, key: bool) -> None:
    sandbox.switch("info_in_progress", mode)
    sandbox.mute("sales")
    msg_id = caller.accept()

    answer = caller.get(f"/messages/{msg_id}/info")

    assert answer.status_code == code
    if code == 200:
        assert answer.json()["data"]["status"] == 1
        assert ("key" in answer.json()["data"]) is key


@pytest.mark.parametrize("code", [404, 403, 200])
def test_info_without_information(sandbox: Sandbox, caller: Any, code: int) -> None:
    sandbox.switch("info_unknown", code)
    sandbox.switch("info_foreign", code)
    sandbox.create_channel("support", "support-key", limit="none")
    foreign = type(caller)(caller.api_url, "support-key").accept()

    for msg_id in (1, foreign, "x"):
        answer = caller.get(f"/messages/{msg_id}/info")
        assert answer.status_code == code
        assert answer.json()["success"] is False
        assert "error" in answer.json()


def test_info_can_expire(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.switch("info_expires_after_s", 0.1)
    msg_id = caller.accept()
    assert caller.get(f"/messages/{msg_id}/info").status_code == 200

    eventually(lambda: caller.get(f"/messages/{msg_id}/info").status_code == 404)


def test_messages_are_edited_and_deleted_by_their_own_channel(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.create_channel("support", "support-key")
    msg_id = caller.accept()
    eventually(lambda: sandbox.ledger()[0].acked_at)

    edited = caller.call("PUT", f"/messages/{msg_id}", {"text": "Hullo"}).json()["data"]
    assert edited["message"]["protocolMessage"]["type"] == 14
    assert sandbox.ledger()[0].edited_text == "Hullo"
    assert caller.call("PUT", f"/messages/{msg_id}", {}).status_code == 422
    other = type(caller)(caller.api_url, "support-key")
    assert "not authorized" in other.call("DELETE", f"/messages/{msg_id}").json()["error"]
    gone = caller.call("DELETE", f"/messages/{msg_id}").json()
    assert gone == {"success": True, "message": "Message deleted successfully."}
    assert sandbox.ledger()[0].deleted is True
    assert caller.call("DELETE", "/messages/1").status_code == 404


def test_numbers_are_looked_up_at_a_limited_rate(sandbox: Sandbox, caller: Any) -> None:
    assert caller.get("/on-whatsapp/%2B919876543210").json() == {"success": True, "data": {"exists": True}}
    assert caller.get("/on-whatsapp/0000000000").json()["data"] == {"exists": False}

    answers = [caller.get("/on-whatsapp/919876543210") for _ in range(59)]
    codes = [answer.status_code for answer in answers]

    assert codes == [200] * 58 + [429]
    assert answers[0].headers["X-RateLimit-Daily-Remaining"] == "997"
    assert "success" not in caller.get("/on-whatsapp/919876543210").json()


def test_other_lookups(sandbox: Sandbox, caller: Any) -> None:
    caller.accept()
    assert caller.get("/user").json()["data"]["id"] == "15550001111:1@s.whatsapp.net"
    lid = caller.get("/lid-from-pn/919876543210").json()["data"]["lid"]
    assert caller.get(f"/pn-from-lid/{lid}").json()["data"]["pn"] == "919876543210@s.whatsapp.net"
    assert caller.get("/pn-from-lid/nonsense").status_code == 404
    assert caller.get("/contacts").json()["data"][0]["jid"] == "919876543210@s.whatsapp.net"
    assert caller.get("/contacts?paginated=true").json()["data"]["pagination"]["total"] == 1
    assert caller.get("/contacts/919876543210").json()["data"]["id"] == "919876543210@s.whatsapp.net"
    assert caller.get("/contacts/919876543210/picture").json()["data"] == {"imgUrl": None}
    assert "blocked" in caller.post("/contacts/919876543210/block").json()["data"]["message"]
    presence = {"jid": TO, "type": "composing"}
    assert caller.post("/send-presence-update", presence).json()["data"] == presence
    assert caller.post("/send-presence-update", {**presence, "type": "dancing"}).status_code == 422
    key = {"id": "3A", "remoteJid": "919876543210@s.whatsapp.net", "fromMe": False}
    assert caller.post("/messages/read", {"key": key}).json()["data"] == {"status": "read"}
    assert caller.post("/messages/read", {}).status_code == 422

    sandbox.set_status("sales", "down")
    assert caller.get("/user").json()["success"] is False


def test_unknown_routes_and_methods_answer_as_the_framework_does(caller: Any) -> None:
    assert caller.get("/nothing").json() == {"message": "The route api/nothing could not be found."}
    assert caller.get("/send-message").status_code == 405


def test_uploads_in_both_documented_forms(sandbox: Sandbox, caller: Any) -> None:
    raw = caller.call("POST", "/upload", data=PNG, headers={"Content-Type": "image/png"})
    assert raw.json()["success"] is True
    assert raw.json()["publicUrl"].endswith(".png"), "publicUrl is at top level"
    assert caller.session.get(raw.json()["publicUrl"], timeout=5).status_code == 200

    text = base64.b64encode(PNG).decode()
    for body in ({"base64": f"data:image/png;base64,{text}"}, {"base64": text, "mimetype": "image/png"}):
        assert caller.post("/upload", body).json()["success"] is True


@pytest.mark.parametrize(
    ("content", "mime", "error"),
    [
        (b"not a picture", "image/png", "does not match"),
        (b"x" * (16 * 1024 * 1024 + 1), "image/x-raw", "exceeds the limit of 16 MB"),
        (b"x", "model/obj", "Unsupported"),
        (b"", "image/png", "required"),
    ],
)
def test_uploads_are_checked(caller: Any, content: bytes, mime: str, error: str) -> None:
    answer = caller.call("POST", "/upload", data=content, headers={"Content-Type": mime})

    assert answer.json()["success"] is False
    assert error in answer.json()["error"]


def test_media_are_decrypted(caller: Any) -> None:
    body = {"data": {"messages": {"key": {"id": "3A"}, "message": {"imageMessage": {"url": "x"}}}}}

    assert caller.post("/decrypt-media", body).json()["publicUrl"]
    assert caller.post("/decrypt-media", {}).status_code == 422
