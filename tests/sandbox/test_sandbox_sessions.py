"""The account's endpoints: sessions, connecting them, and both logs."""

import json
import re
from typing import Any

import pytest

from wasender_sandbox.control import Sandbox

NEW = {
    "name": "sales",
    "phone_number": "+919876500000",
    "account_protection": True,
    "log_messages": True,
}


def test_sessions_are_created_changed_and_deleted(empty: Sandbox, account: Any) -> None:
    made = account.post("/whatsapp-sessions", {**NEW, "webhook_url": "https://crm.example/hook"}).json()["data"]
    assert made["status"] == "disconnected"
    assert re.fullmatch("[0-9a-f]{64}", made["api_key"])
    assert re.fullmatch("[0-9a-f]{32}", made["webhook_secret"])
    assert made["created_at"].endswith("Z")
    path = f"/whatsapp-sessions/{made['id']}"

    changed = account.call("PUT", path, {"account_protection": False, "webhook_events": ["message.sent"]}).json()
    assert changed["success"] is True
    assert changed["data"]["account_protection"] is False
    assert "warning" not in changed
    assert empty.channel("sales")["limit"] == "256/60"
    assert account.get(path).json()["data"] == changed["data"]
    assert account.get("/whatsapp-sessions").json()["data"] == [changed["data"]]

    gone = account.call("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert account.get(path).status_code == 404
    assert type(account)(account.api_url, made["api_key"]).send().status_code == 401


def test_required_fields_and_names_are_checked(account: Any, empty: Sandbox) -> None:
    answer = account.post("/whatsapp-sessions", {"name": "sales"})
    assert (answer.status_code, set(answer.json()["errors"])) == (
        422,
        {"phone_number", "account_protection", "log_messages"},
    )
    account.post("/whatsapp-sessions", NEW)
    assert account.post("/whatsapp-sessions", NEW).status_code == 422


@pytest.mark.parametrize("token", ["sales-key", "junk"])
def test_only_the_personal_access_token_opens_the_account(sandbox: Sandbox, account: Any, token: str) -> None:
    answer = type(account)(sandbox.api_url, token).get("/whatsapp-sessions")

    assert answer.status_code == 401
    assert answer.json()["message"] == "This endpoint requires a valid personal access token."
    assert account.get("/auth-check").status_code == 200


def test_connecting_by_qr_code(empty: Sandbox, account: Any) -> None:
    made = account.post("/whatsapp-sessions", NEW).json()["data"]
    path = f"/whatsapp-sessions/{made['id']}"
    caller = type(account)(account.api_url, made["api_key"])
    assert account.get(f"{path}/qrcode").json()["success"] is False, "connect comes first"
    assert account.post(f"{path}/restart").json() == {
        "success": False,
        "error": "WhatsApp session is not connected. Cannot restart.",
    }

    data = account.post(f"{path}/connect").json()["data"]
    assert data["status"] == "NEED_SCAN"
    assert data["qrCode"].startswith("2@")
    assert caller.get("/status").json() == {"status": "need_scan"}
    codes = {account.get(f"{path}/qrcode").json()["data"]["qrCode"] for _ in range(2)}
    assert len(codes | {data["qrCode"]}) == 3, "each call gives a fresh code"

    empty.scan("sales")
    assert caller.get("/status").json() == {"status": "connected"}
    again = account.post(f"{path}/connect").json()["data"]
    assert (again["status"], "qrCode" in again) == ("CONNECTED", False)
    assert account.post(f"{path}/restart").json()["message"] == "WhatsApp session restarted successfully."
    down = account.post(f"{path}/disconnect").json()["data"]
    assert down["status"] == "disconnected"
    assert caller.get("/status").json() == {"status": "logged_out"}, "a new scan is needed"


def test_connecting_by_passkey_and_without_a_subscription(sandbox: Sandbox, account: Any, caller: Any) -> None:
    sandbox.set_status("sales", "logged_out")
    path = "/whatsapp-sessions/501/connect"
    data = account.post(path, {"linkMethod": "passkey"}).json()["data"]
    assert data["status"] == "NEED_PASSKEY"
    assert data["passkey"]["token"]
    assert caller.get("/status").json() == {"status": "need_passkey"}

    sandbox.switch("subscription_active", False)
    assert "active subscription" in account.post(path).json()["error"]


def test_a_new_key_replaces_the_old_one_at_once_or_after_a_while(
    sandbox: Sandbox, account: Any, caller: Any, eventually: Any
) -> None:
    path = "/whatsapp-sessions/501/regenerate-key"
    answer = account.post(path).json()
    assert set(answer) == {"success", "api_key"}, "the key is at top level"
    assert caller.get("/status").status_code == 401
    fresh = type(caller)(caller.api_url, answer["api_key"])
    assert fresh.get("/status").status_code == 200

    sandbox.switch("regenerate_key_grace_s", 0.15)
    account.post(path)
    assert fresh.get("/status").status_code == 200
    eventually(lambda: fresh.get("/status").status_code == 401)


def test_message_logs_are_laravel_pages(sandbox: Sandbox, account: Any, caller: Any, eventually: Any) -> None:
    sandbox.recipients(fails_later=["+919876543211"])
    ids = [caller.accept(f"n{n}") for n in range(4)]
    caller.accept("bad", "+919876543211")
    eventually(lambda: sandbox.verdict()["in_progress"] == 0)
    path = "/whatsapp-sessions/501/message-logs"

    page = account.get(f"{path}?per_page=2&page=2").json()["data"]
    assert len(page) == 12
    assert (page["current_page"], page["last_page"], page["per_page"], page["total"]) == (2, 3, 2, 5)
    assert (page["from"], page["to"]) == (3, 4)
    assert page["next_page_url"].endswith("?page=3")
    assert page["prev_page_url"].endswith("?page=1")
    row = page["data"][0]
    assert row["id"] == str(ids[2]), "newest first, ids as strings"
    assert row["whatsapp_session_id"] == "501"
    assert json.loads(row["content"]) == {"text": "n2"}
    assert (row["to"], row["status"], row["failed_reason"]) == ("+919876543210", "sent", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["created_at"])

    failed = account.get(f"{path}?status=failed").json()["data"]
    assert [row["failed_reason"] for row in failed["data"]] == ["invalid WhatsApp number"]
    beyond = account.get(f"{path}?page=9").json()["data"]
    assert (beyond["data"], beyond["from"], beyond["next_page_url"]) == ([], None, None)


def test_logs_hide_recipient_and_content_when_logging_is_off(sandbox: Sandbox, account: Any, caller: Any) -> None:
    sandbox.change_channel("sales", log_messages=False)
    caller.accept()

    [row] = account.get("/whatsapp-sessions/501/message-logs").json()["data"]["data"]
    assert (row["to"], row["content"]) == (None, None)


def test_log_ids_and_times_can_differ(sandbox: Sandbox, account: Any, caller: Any) -> None:
    msg_id = caller.accept()
    path = "/whatsapp-sessions/501/message-logs"
    utc = account.get(path).json()["data"]["data"][0]["created_at"]
    sandbox.switch("log_id_is_msg_id", False)
    sandbox.switch("log_zone_offset_h", 5.5)

    [row] = account.get(path).json()["data"]["data"]

    assert row["id"] != str(msg_id)
    assert row["created_at"] > utc


def test_session_logs_tell_what_happened(sandbox: Sandbox, account: Any) -> None:
    sandbox.set_status("sales", "need_scan")
    sandbox.scan("sales")

    rows = account.get("/whatsapp-sessions/501/session-logs").json()["data"]["data"]

    assert [row["status"] for row in rows] == ["connected", "need_scan", "connected"]
    assert [row["event_type"] for row in rows] == ["status_change", "status_change", "session_created"]
    assert isinstance(rows[0]["id"], int)


def test_shapes_of_sessions_vary(sandbox: Sandbox, account: Any, caller: Any) -> None:
    for name, value in {
        "list_status_case": "upper",
        "status_case": "upper",
        "delete_http_status": 200,
        "webhook_sync_warning": 1,
    }.items():
        sandbox.switch(name, value)

    assert account.get("/whatsapp-sessions").json()["data"][0]["status"] == "CONNECTED"
    assert caller.get("/status").json() == {"status": "CONNECTED"}
    assert "failed to sync" in account.call("PUT", "/whatsapp-sessions/501", {"webhook_url": None}).json()["warning"]
    assert account.call("DELETE", "/whatsapp-sessions/501").json() == {"success": True}
