"""Webhook events: their shapes, their signature, and the trouble they can be put through."""

from typing import Any

import pytest

from wasender_sandbox.control import Sandbox

TO = "+919876543210"


@pytest.fixture
def hooked(sandbox: Sandbox, receiver: Any) -> Sandbox:
    sandbox.change_channel("sales", webhook_url=receiver.url)
    sandbox.switch("webhook_retry_after_s", 0.05)
    return sandbox


def test_a_message_fires_upsert_sent_and_updates(
    hooked: Sandbox, caller: Any, receiver: Any, eventually: Any
) -> None:
    caller.accept("Hello")
    eventually(lambda: receiver.codes() == [2, 3])

    [entry] = hooked.ledger()
    assert set(receiver.signatures) == {"hush"}, "the signature is the secret itself"
    [sent] = receiver.of("message.sent")
    assert sent["sessionId"] == "sales-key"
    assert sent["data"] == {
        "key": {"id": entry.key_id, "fromMe": True, "remoteJid": TO},
        "message": {"conversation": "Hello"},
        "success": True,
    }
    assert 1e9 < sent["timestamp"] < 1e11, "seconds"
    [upsert] = receiver.of("messages.upsert")
    assert upsert["data"]["messages"][0]["key"]["id"] == entry.key_id
    update = receiver.of("messages.update")[0]
    assert update["timestamp"] > 1e11, "milliseconds"
    assert update["data"] == {
        "update": {"status": 2},
        "key": {"remoteJid": "919876543210@s.whatsapp.net", "id": entry.key_id, "fromMe": False},
    }


def test_shapes_vary(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    for name, value in {
        "update_shape": "array",
        "update_status_type": "word",
        "upsert_shape": "object",
        "webhook_timestamp": "absent",
        "webhook_remote_jid": "lid",
        "message_sent_msg_id": "on",
    }.items():
        hooked.switch(name, value)
    msg_id = caller.accept()
    eventually(lambda: len(receiver.of("messages.update")) == 2)

    update, upsert, sent = (receiver.of(e)[0] for e in ("messages.update", "messages.upsert", "message.sent"))
    assert update["data"][0]["update"] == {"status": "sent"}
    assert update["data"][0]["key"]["remoteJid"].endswith("@lid")
    assert upsert["data"]["messages"]["key"]["fromMe"] is True
    assert sent["data"]["msgId"] == msg_id
    assert "timestamp" not in update
    lid = update["data"][0]["key"]["remoteJid"]
    assert caller.get(f"/pn-from-lid/{lid}").json()["data"] == {"pn": "919876543210@s.whatsapp.net"}


def test_status_can_be_a_numeric_string_and_timestamps_seconds(
    hooked: Sandbox, caller: Any, receiver: Any, eventually: Any
) -> None:
    hooked.switch("update_status_type", "string")
    hooked.switch("webhook_timestamp", "seconds")
    caller.accept()

    eventually(lambda: receiver.codes() == ["2", "3"])
    assert all(event["timestamp"] < 1e11 for event in receiver.events)


def test_codes_and_events_can_be_left_out(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.switch("update_statuses", "3")
    hooked.switch("send_events", "none")
    caller.accept()

    eventually(lambda: receiver.codes() == [3])
    assert {event["event"] for event in receiver.events} == {"messages.update"}


def test_a_channel_gets_only_the_events_it_asked_for(
    hooked: Sandbox, caller: Any, receiver: Any, eventually: Any
) -> None:
    hooked.change_channel("sales", webhook_events=["message.sent"])
    caller.accept()
    eventually(lambda: receiver.of("message.sent"))
    eventually(lambda: hooked.state()["scheduled"] == 0)

    assert {event["event"] for event in receiver.events} == {"message.sent"}


def test_an_async_failure_cannot_be_correlated(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.recipients(fails_later=[TO])
    caller.accept()

    [sent] = eventually(lambda: receiver.of("message.sent"))
    assert sent["data"] == {
        "success": False,
        "error": f"Failed to send message: Invalid number JID: {TO}",
    }


def test_session_status_and_qr_codes_are_told(hooked: Sandbox, receiver: Any, eventually: Any) -> None:
    hooked.set_status("sales", "need_scan")
    [event] = eventually(lambda: receiver.of("session.status"))
    assert event == {"event": "session.status", "sessionId": "sales-key", "data": {"status": "need_scan"}}

    hooked.switch("session_status_shape", "with_session_id")
    hooked.scan("sales")
    event = eventually(lambda: receiver.of("session.status")[1:])[0]
    assert (event["data"]["status"], event["data"]["session_id"]) == ("connected", "session-501")


def test_a_session_can_go_down_silently(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.set_status("sales", "logged_out", quiet=True)
    hooked.scan("sales")

    eventually(lambda: receiver.of("session.status"))
    assert [event["data"]["status"] for event in receiver.events] == ["connected"]


def test_lost_events_never_come(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.webhooks(lost=1)
    caller.accept()
    eventually(lambda: hooked.ledger()[0].delivered_at)

    counts = hooked.state()["webhooks"]
    assert (counts["emitted"], counts["lost_on_purpose"], counts["delivered"]) == (4, 4, 0)
    assert receiver.events == []


def test_a_share_of_events_gets_lost(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.webhooks(lost=0.5)
    for n in range(20):
        caller.accept(f"n{n}")
    eventually(lambda: hooked.state()["webhooks"]["emitted"] == 80)

    counts = eventually(lambda: (c := hooked.state()["webhooks"])["delivered"] + c["lost_on_purpose"] == 80 and c)
    assert 15 < counts["lost_on_purpose"] < 65
    assert len(receiver.events) == counts["delivered"]


def test_doubled_events_come_twice(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.webhooks(doubled=1)
    caller.accept()

    eventually(lambda: sorted(receiver.codes()) == [2, 2, 3, 3])


def test_events_of_a_message_come_in_order_and_can_be_reordered(
    hooked: Sandbox, caller: Any, receiver: Any, eventually: Any
) -> None:
    for n in range(10):
        caller.accept(f"n{n}")
    eventually(lambda: len(receiver.codes()) == 20)
    assert not _out_of_order(receiver)

    receiver.events.clear()
    hooked.webhooks(reordered=0.5)
    for n in range(10):
        caller.accept(f"m{n}")
    eventually(lambda: len(receiver.codes()) == 20)
    assert _out_of_order(receiver)


def test_early_events_come_before_the_sends_own_answer(
    hooked: Sandbox, caller: Any, receiver: Any, eventually: Any
) -> None:
    hooked.webhooks(early=1)
    hooked.switch("delivered_fraction", 0)

    caller.accept()

    assert receiver.codes() == [2], "it was there when the answer came"
    [entry], [request] = hooked.ledger(), hooked.requests()
    assert entry.acked_at is not None
    assert request.answered_at is not None
    assert entry.acked_at < request.answered_at


def test_delayed_events_come_late(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.webhooks(delay=0.2)
    caller.accept()
    eventually(lambda: hooked.ledger()[0].acked_at)
    assert receiver.events == []

    eventually(lambda: receiver.codes() == [2, 3])


def test_trouble_can_be_kept_to_one_channel(hooked: Sandbox, caller: Any, receiver: Any, eventually: Any) -> None:
    hooked.create_channel("support", "support-key", limit="none", webhook_url=receiver.url)
    hooked.webhooks(lost=1, channel="support")
    type(caller)(caller.api_url, "support-key").accept("lost")
    caller.accept("heard")

    eventually(lambda: receiver.codes() == [2, 3])
    assert {event["sessionId"] for event in receiver.events} == {"sales-key"}


def test_a_failed_delivery_is_tried_once_more_and_then_lost(
    hooked: Sandbox, caller: Any, receiver: Any, eventually: Any
) -> None:
    hooked.change_channel("sales", webhook_events=["message.sent"])
    receiver.answers += [500]
    caller.accept("one failure")
    eventually(lambda: hooked.state()["webhooks"]["delivered"] == 1)
    assert len(receiver.events) == 2

    receiver.answers += [500, 503]
    caller.accept("two failures")
    counts = eventually(lambda: (c := hooked.state()["webhooks"])["given_up"] == 1 and c)
    assert counts["delivered"] == 1
    assert counts["last_error"] == "HTTP 503"


def test_an_endpoint_that_is_down_loses_events(hooked: Sandbox, caller: Any, eventually: Any) -> None:
    hooked.change_channel("sales", webhook_url="http://127.0.0.1:9/hook")
    hooked.switch("webhook_retries", 0)
    caller.accept()

    eventually(lambda: hooked.state()["webhooks"]["given_up"] == 4)


def test_inbound_messages_fire_all_three_events(hooked: Sandbox, receiver: Any, eventually: Any) -> None:
    key_id = hooked.inbound("sales", "+91 98765 43210", "STOP", as_lid=True)

    eventually(lambda: len(receiver.events) == 3)
    assert {event["event"] for event in receiver.events} == {
        "messages.received",
        "messages-personal.received",
        "messages.upsert",
    }
    message = receiver.of("messages.received")[0]["data"]["messages"]
    assert message["messageBody"] == "STOP"
    assert message["key"]["id"] == key_id
    assert message["key"]["cleanedSenderPn"] == "919876543210"
    assert message["key"]["remoteJid"].endswith("@lid")


def _out_of_order(receiver: Any) -> bool:
    seen: dict[str, list[int]] = {}
    for event in receiver.of("messages.update"):
        seen.setdefault(event["data"]["key"]["id"], []).append(event["data"]["update"]["status"])
    return any(codes != sorted(codes) for codes in seen.values())
