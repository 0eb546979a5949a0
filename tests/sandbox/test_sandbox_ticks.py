"""The life of accepted messages, and the ledger that tells the truth about them."""

from typing import Any

import pytest

from wasender_sandbox.control import Sandbox

TO = "+919876543210"


def test_a_message_is_ticked_delivered_and_read_in_turn(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.switch("read_fraction", 1)
    sandbox.switch("read_after_s", 0.06)
    msg_id = caller.accept()

    [entry] = eventually(lambda: [e for e in sandbox.ledger() if e.status == 4])

    assert entry.msg_id == msg_id
    assert entry.acked_at is not None
    assert entry.delivered_at is not None
    assert entry.read_at is not None
    times = [entry.request_at, entry.received_at, entry.acked_at, entry.delivered_at, entry.read_at]
    assert times == sorted(times)
    assert entry.acked_at - entry.received_at >= 0.02
    assert entry.read_at - entry.received_at >= 0.06
    info = caller.get(f"/messages/{msg_id}/info").json()["data"]
    assert (info["status"], info["key"]["id"]) == (4, entry.key_id)


def test_the_ledger_keeps_the_order_and_finds_messages(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    for n in range(6):
        caller.accept(f"number {n}", to=f"+91987654321{n % 2}")
    eventually(lambda: len(sandbox.ledger(acked=True)) == 6)

    entries = sandbox.ledger()
    assert [entry.index for entry in entries] == list(range(6))
    assert [entry.ack_index for entry in entries] == list(range(6)), "fixed delays keep WhatsApp's order"
    assert [entry.text for entry in sandbox.ledger(recipient=TO)] == ["number 0", "number 2", "number 4"]
    assert [entry.index for entry in sandbox.ledger(after=3)] == [4, 5]
    assert sandbox.ledger(msg_id=entries[2].msg_id)[0].text == "number 2"
    assert sandbox.ledger(text="number 5")[0].index == 5
    assert sandbox.ledger(acked=False) == []
    assert len({entry.key_id for entry in entries}) == 6


def test_the_ledger_is_read_in_pages(sandbox: Sandbox, caller: Any) -> None:
    for n in range(7):
        caller.accept(f"n{n}")

    page = sandbox._call("GET", "ledger", query={"limit": 3, "after": 1})

    assert [row["index"] for row in page["rows"]] == [2, 3, 4]
    assert page["next"] == 4


def test_duplicates_show_in_the_verdict(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    for text in ("once", "twice", "twice"):
        caller.accept(text)
    eventually(lambda: sandbox.verdict()["acked"] == 3)

    verdict = sandbox.verdict()
    assert (verdict["duplicates"], verdict["accepted"], verdict["in_progress"]) == (1, 3, 0)


def test_some_recipients_never_get_a_second_tick(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.recipients(never_delivered=[TO], never_ticked="+919876543211")
    caller.accept("one tick", TO)
    caller.accept("no tick", "+919876543211")
    caller.accept("two ticks", "+919876543212")

    eventually(lambda: sandbox.ledger(text="two ticks")[0].delivered_at)
    assert [entry.status for entry in sandbox.ledger()] == [2, 1, 3]


def test_an_unknown_number_can_fail_later_instead_of_at_once(
    sandbox: Sandbox, caller: Any, account: Any, eventually: Any
) -> None:
    sandbox.switch("not_on_whatsapp", "async")
    msg_id = caller.accept(to="0000000000")

    [entry] = eventually(lambda: [e for e in sandbox.ledger() if e.status == 0])

    assert (entry.acked_at, entry.failed_reason) == (None, "invalid WhatsApp number")
    assert caller.get(f"/messages/{msg_id}/info").json()["data"]["status"] == 0
    [row] = account.get("/whatsapp-sessions/501/message-logs").json()["data"]["data"]
    assert (row["status"], row["failed_reason"]) == ("failed", "invalid WhatsApp number")


def test_an_unreachable_media_url_fails_later_or_at_once(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    body = {"to": TO, "imageUrl": "https://files.invalid/a.png"}
    assert caller.post("/send-message", body).status_code == 200
    assert "media" in eventually(lambda: sandbox.ledger()[0].failed_reason)

    sandbox.switch("media_failures", "sync")
    assert caller.post("/send-message", body).status_code == 422


@pytest.mark.parametrize(
    ("mode", "status", "log"), [("later", 3, "sent"), ("failed", 0, "failed"), ("stuck", 1, "in_progress")]
)
def test_accepted_then_the_session_drops(
    sandbox: Sandbox, caller: Any, eventually: Any, mode: str, status: int, log: str
) -> None:
    sandbox.switch("pending_when_down", mode)
    sandbox.switch("ack_after_s", 0.1)
    caller.accept("in danger")
    sandbox.set_status("sales", "need_scan")
    eventually(lambda: sandbox.state()["scheduled"] == 0)
    assert sandbox.ledger(acked=True) == [], "nothing reaches WhatsApp while the session is down"

    sandbox.scan("sales")
    caller.accept("after it")
    eventually(lambda: sandbox.ledger(text="after it")[0].delivered_at)

    [entry] = sandbox.ledger(text="in danger")
    assert (entry.status, entry.log_status) == (status, log)


@pytest.mark.parametrize(("mode", "status"), [("later", 3), ("failed", 0), ("stuck", 1)])
def test_a_mute_channel_says_connected_accepts_and_never_ticks(
    sandbox: Sandbox, caller: Any, eventually: Any, mode: str, status: int
) -> None:
    sandbox.mute("sales", then=mode)
    caller.accept("silence")
    eventually(lambda: sandbox.channel("sales")["held"] == 1)
    assert caller.get("/status").json() == {"status": "connected"}
    assert sandbox.ledger()[0].status == 1

    sandbox.unmute("sales")
    caller.accept("loud")
    eventually(lambda: sandbox.ledger(text="loud")[0].delivered_at)

    assert sandbox.ledger(text="silence")[0].status == status


def test_the_switch_decides_about_muted_messages_when_nobody_else_does(
    sandbox: Sandbox, caller: Any, eventually: Any
) -> None:
    sandbox.switch("pending_when_muted", "failed")
    sandbox.mute("sales")
    caller.accept()
    eventually(lambda: sandbox.channel("sales")["held"] == 1)

    sandbox.unmute("sales")

    assert sandbox.ledger()[0].status == 0


@pytest.mark.parametrize(("mode", "status"), [("later", 3), ("failed", 0), ("stuck", 1)])
def test_a_restart_ends_a_mute_spell(
    sandbox: Sandbox, caller: Any, account: Any, eventually: Any, mode: str, status: int
) -> None:
    sandbox.switch("pending_when_muted", mode)
    sandbox.mute("sales")
    caller.accept("silence")
    eventually(lambda: sandbox.channel("sales")["held"] == 1)

    assert account.post("/whatsapp-sessions/501/restart").json()["success"] is True
    caller.accept("loud")
    eventually(lambda: sandbox.ledger(text="loud")[0].delivered_at)

    row = sandbox.channel("sales")
    assert (row["muted"], row["restarts"]) == (False, 1)
    assert sandbox.ledger(text="silence")[0].status == status


def test_a_restart_obeys_what_the_mute_spell_was_told(
    sandbox: Sandbox, caller: Any, account: Any, eventually: Any
) -> None:
    sandbox.mute("sales", then="failed")
    caller.accept("silence")
    eventually(lambda: sandbox.channel("sales")["held"] == 1)

    account.post("/whatsapp-sessions/501/restart")

    assert sandbox.ledger()[0].status == 0, "not sent later, as the switch would have it"


def test_a_restart_can_be_of_no_use(sandbox: Sandbox, caller: Any, account: Any, eventually: Any) -> None:
    sandbox.switch("restart_unmutes", False)
    sandbox.mute("sales")
    caller.accept("silence")
    eventually(lambda: sandbox.channel("sales")["held"] == 1)

    for _ in range(2):
        assert account.post("/whatsapp-sessions/501/restart").json()["success"] is True

    row = sandbox.channel("sales")
    assert (row["muted"], row["held"], row["restarts"]) == (True, 1, 2)
    sandbox.set_status("sales", "need_scan")
    assert account.post("/whatsapp-sessions/501/restart").json()["success"] is False
    assert sandbox.channel("sales")["restarts"] == 2, "a refused restart is none"


def test_a_restart_can_go_by_connecting(sandbox: Sandbox, caller: Any, account: Any, eventually: Any) -> None:
    sandbox.switch("restart_connecting_s", 0.3)
    sandbox.mute("sales")
    caller.accept("silence")
    eventually(lambda: sandbox.channel("sales")["held"] == 1)

    assert account.post("/whatsapp-sessions/501/restart").json()["success"] is True

    assert caller.get("/status").json() == {"status": "connecting"}
    assert sandbox.ledger()[0].acked_at is None
    eventually(lambda: caller.get("/status").json() == {"status": "connected"})
    eventually(lambda: sandbox.ledger()[0].acked_at)


def test_held_messages_go_out_in_their_order(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.mute("sales")
    for n in range(5):
        caller.accept(f"n{n}")
    eventually(lambda: sandbox.channel("sales")["held"] == 5)

    sandbox.unmute("sales")
    eventually(lambda: len(sandbox.ledger(acked=True)) == 5)

    assert [entry.ack_index for entry in sandbox.ledger()] == [0, 1, 2, 3, 4]
    assert sandbox.channel("sales")["held"] == 0


def test_a_transient_drop_comes_back_by_itself(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.switch("transient_drop_s", 0.2)
    sandbox.set_status("sales", "drop")
    assert caller.get("/status").json() == {"status": "connecting"}
    assert caller.send().json()["success"] is False

    eventually(lambda: caller.get("/status").json() == {"status": "connected"})
    caller.accept()


def test_a_lid_is_accepted_and_never_heard_of_again_unless_switched(
    sandbox: Sandbox, caller: Any, eventually: Any
) -> None:
    caller.accept("lost", "555123456@lid")
    sandbox.switch("lid_recipient", "works")
    caller.accept("found", "555123456@lid")
    eventually(lambda: sandbox.ledger(text="found")[0].acked_at)
    assert sandbox.ledger(text="lost")[0].acked_at is None

    sandbox.switch("lid_recipient", "reject")
    assert caller.send("no", "555123456@lid").status_code == 422


def test_hundreds_of_ticks_need_one_timer_and_all_arrive(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.switch("ack_after_s", "0.05-0.3")
    for n in range(250):
        caller.accept(f"n{n}")

    eventually(lambda: sandbox.verdict()["acked"] == 250)
    eventually(lambda: sandbox.state()["scheduled"] == 0)
    assert all(entry.delivered_at for entry in sandbox.ledger())


def test_a_failed_message_can_be_resent(sandbox: Sandbox, caller: Any, eventually: Any) -> None:
    sandbox.recipients(fails_later=[TO])
    msg_id = caller.accept()
    assert caller.post(f"/messages/{msg_id}/resend").json() == {
        "success": False,
        "error": "Only messages with status 'failed' can be resent.",
    }
    eventually(lambda: sandbox.ledger()[0].status == 0)
    sandbox.recipients(exists=[TO])

    answer = caller.post(f"/messages/{msg_id}/resend")

    assert answer.json() == {"success": True, "message": "Message resend initiated successfully."}
    eventually(lambda: sandbox.ledger()[0].acked_at)
    assert len(sandbox.ledger()) == 1, "no new msgId"
