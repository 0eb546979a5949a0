"""The official Python SDK (wasenderapi 0.3.5) talks to the sandbox as it does to WaSender.

Its helpers for statuses, QR codes and new keys call older paths, which the sandbox serves too.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from wasenderapi import WasenderAPIError, WasenderSyncClient
from wasenderapi.models import RetryConfig
from wasenderapi.sessions import CreateWhatsAppSessionPayload

from wasender_sandbox.control import Sandbox
from wasender_sandbox.world import DEFAULT_PAT

TO = "+919876543210"


@pytest.fixture
def sdk(sandbox: Sandbox) -> WasenderSyncClient:
    return WasenderSyncClient(
        "sales-key",
        base_url=sandbox.api_url,
        webhook_secret="hush",
        personal_access_token=DEFAULT_PAT,
    )


SENDS: dict[str, Callable[[WasenderSyncClient], Any]] = {
    "text": lambda sdk: sdk.send_text(TO, "Hello"),
    "image": lambda sdk: sdk.send_image(TO, "https://example.com/a.png", "caption"),
    "video": lambda sdk: sdk.send_video(TO, "https://example.com/a.mp4"),
    "document": lambda sdk: sdk.send_document(TO, "https://example.com/a.pdf", "bill.pdf"),
    "audio": lambda sdk: sdk.send_audio(TO, "https://example.com/a.ogg"),
    "sticker": lambda sdk: sdk.send_sticker(TO, "https://example.com/a.webp"),
    "contact": lambda sdk: sdk.send_contact(TO, "Asha", "+919876500000"),
    "location": lambda sdk: sdk.send_location(TO, 12.97, 77.59, "Bengaluru"),
    "poll": lambda sdk: sdk.send_poll(TO, "Tea?", ["yes", "no"]),
}


@pytest.mark.parametrize("kind", SENDS)
def test_the_sdk_sends_every_type_and_reads_status_and_info(
    sandbox: Sandbox, sdk: WasenderSyncClient, eventually: Any, kind: str
) -> None:
    result = SENDS[kind](sdk)

    assert result.response.success is True
    assert (result.response.data.jid, result.response.data.status) == (TO, "in_progress")
    [entry] = sandbox.ledger()
    assert (entry.kind, entry.msg_id) == (kind, result.response.data.message_id)

    eventually(lambda: sandbox.ledger()[0].delivered_at)
    info = sdk.get_message_info(entry.msg_id).response.data
    assert (info["status"], info["key"]["id"]) == (3, entry.key_id)
    assert sdk.get_session_status("501").response.status.value == "connected"


def test_the_sdk_mentions_quotes_edits_and_deletes(
    sandbox: Sandbox, sdk: WasenderSyncClient, eventually: Any
) -> None:
    sdk.send_message_with_mentions("120363000000000000@g.us", "Hi @1", ["919876543210@s.whatsapp.net"])
    first = sandbox.ledger()[0].msg_id
    sdk.send_quoted_message(TO, reply_to=first, text="As I said")
    eventually(lambda: len(sandbox.ledger(acked=True)) == 2)

    assert sandbox.ledger()[1].payload["replyTo"] == first
    assert sdk.edit_message(first, "Hi all").response.success is True
    assert sdk.delete_message(first).response.message == "Message deleted successfully."


def test_the_sdk_takes_a_soft_refusal_for_a_success(sandbox: Sandbox, sdk: WasenderSyncClient) -> None:
    """It looks at the HTTP status only; a client that believes it would call this message sent."""
    sandbox.set_status("sales", "logged_out")

    result = sdk.send_text(TO, "Hello")

    assert (result.response.success, result.response.data) == (False, None)
    assert sandbox.ledger() == []


def test_the_sdk_reads_the_throttle(sandbox: Sandbox, sdk: WasenderSyncClient) -> None:
    sandbox.change_channel("sales", limit="1/5")
    first = sdk.send_text(TO, "one")
    assert (first.rate_limit.limit, first.rate_limit.reset_timestamp) == (1, 5)

    with pytest.raises(WasenderAPIError) as refusal:
        sdk.send_text(TO, "two")

    assert (refusal.value.status_code, refusal.value.retry_after) == (429, 5)


def test_the_sdk_waits_and_sends_again_when_it_may(sandbox: Sandbox) -> None:
    sandbox.change_channel("sales", limit="1/0.6")
    patient = WasenderSyncClient(
        "sales-key", base_url=sandbox.api_url, retry_options=RetryConfig(max_retries=1, enabled=True)
    )

    patient.send_text(TO, "one")
    patient.send_text(TO, "two")

    assert [request.answer for request in sandbox.requests()] == [200, 429, 200]


def test_the_sdk_understands_refused_numbers_and_keys(sandbox: Sandbox, sdk: WasenderSyncClient) -> None:
    with pytest.raises(WasenderAPIError) as refusal:
        sdk.send_text("0000000000", "Hello")
    assert refusal.value.error_details == {"to": ["The provided JID does not exist on WhatsApp."]}

    with pytest.raises(WasenderAPIError) as unknown:
        WasenderSyncClient("wrong", base_url=sandbox.api_url).send_text(TO, "Hello")
    assert unknown.value.status_code == 401


def test_the_sdk_manages_sessions(sandbox: Sandbox, sdk: WasenderSyncClient) -> None:
    sandbox.switch("sdk_session_fields", "on")
    payload = CreateWhatsAppSessionPayload(
        name="support", phone_number="+919876500000", account_protection=True, log_messages=True
    )
    made = sdk.create_whatsapp_session(payload).response.data
    assert [s.name for s in sdk.get_all_whatsapp_sessions().response.data] == ["sales", "support"]
    assert sdk.get_whatsapp_session_details(made.id).response.data.api_key == made.api_key
    sandbox.set_status("support", "need_scan")
    assert sdk.get_whatsapp_session_qr_code(made.id).response.data.qr_code.startswith("2@")
    sandbox.scan("support")
    assert sdk.disconnect_whatsapp_session(made.id).response.data.status.value == "disconnected"
    assert sdk.regenerate_api_key(made.id).response.api_key != made.api_key
    assert sdk.delete_whatsapp_session(made.id).response.success is True


def test_the_sdk_uploads_and_looks_up(sdk: WasenderSyncClient) -> None:
    png = b"\x89PNG\r\n\x1a\n"
    assert sdk.upload_media_file(file_bytes=png, filename="a.png").response.success is True
    assert sdk.upload_media_file(base64_data="data:text/plain;base64,aGk=").response.success is True
    assert sdk.check_if_on_whatsapp(TO).response.data == {"exists": True}
    assert sdk.get_session_user_info().response.data["name"] == "sales"
    assert sdk.send_presence_update(TO, "composing").response.success is True
    assert sdk.get_contact_profile_picture("919876543210").response.data.img_url is None


def test_the_sdk_verifies_and_reads_webhooks(
    sandbox: Sandbox, sdk: WasenderSyncClient, receiver: Any, eventually: Any
) -> None:
    sandbox.change_channel("sales", webhook_url=receiver.url)
    sdk.send_text(TO, "Hello")
    eventually(lambda: receiver.of("message.sent"))

    body = json.dumps(receiver.of("message.sent")[0]).encode()
    event = sdk.handle_webhook_event(body, receiver.signatures[0])

    assert event.session_id == "sales-key"
    assert event.data.key.id == sandbox.ledger()[0].key_id
    with pytest.raises(WasenderAPIError):
        sdk.handle_webhook_event(body, "guess")
