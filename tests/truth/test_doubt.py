"""Attempts of which nobody knows whether they arrived: what becomes of their messages, judged by the ledger."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
import requests

from tests.conftest import API_KEY
from tests.drain.scene import WIDE, number
from tests.truth.conftest import TOKEN
from tests.truth.stage import Stage
from worker.channels import leases
from worker.database import transaction
from worker.domain.channel_state import ChannelState
from worker.outbox.claims import claim_next

#: How the answer is spoilt, and the HTTP status.
KINDS = {
    "hangs": ("hang", None),
    "reset": ("reset", None),
    "error": ("error", 503),
    "page": ("html", 520),
    "nameless": ("no_msg_id", None),
}


def in_doubt(stage: Stage, when: str, *, on_doubt: str = "hold", words: str = "unlucky", kind: str = "reset") -> None:
    """A message is POSTed and its answer lost, before or after WaSender took it."""
    stage.crm.enqueue([words], on_doubt=on_doubt)
    stage.sandbox.fault(kind, when=when, count=1)
    stage.send()
    assert stage.crm.states()[-1] == "in_doubt"


def an_earlier_one(stage: Stage) -> None:
    """A message that has arrived: its id tells that the log is the one of this session."""
    stage.crm.enqueue(["an earlier one"], to=lambda _: number(9))
    stage.send()
    stage.live(20, until=lambda: stage.crm.states() == ["delivered"])


def copies(stage: Stage, words: str = "unlucky") -> int:
    return len(stage.sandbox.ledger(text=words))


def post_from_elsewhere(stage: Stage, to: str, words: str) -> None:
    """Another program that knows the session's key sends."""
    answer = requests.post(
        f"{stage.sandbox.api_url}/send-message",
        json={"to": to, "text": words},
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=10,
    )
    assert answer.json()["success"] is True


def lose_a_worker(stage: Stage, *, posted: bool) -> None:
    """A worker claims the message, may POST it, and is never seen again; its lease has run out."""
    crm = stage.crm
    now = crm.parts.clock()
    lease = leases.Lease(token="d" * 32, holder="lost:1", until=now + timedelta(seconds=15))
    with transaction(crm.parts.engine) as connection:
        rows = leases.take_waiting(connection, lease, now=now, horizon=now, most=10)
        (claim,) = claim_next(connection, [row.id for row in rows], lease.token, now=now).claims
    if posted:
        crm.parts.gateway.send(API_KEY, claim.recipient, claim.content)
    stage.pass_time(20)
    stage.beat()
    assert crm.states() == ["in_doubt"]


# By policy


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
def test_without_proof_a_message_is_held_or_sent_once_more_as_its_policy_says(
    stage: Stage, on_doubt: str, when: str
) -> None:
    crm, sandbox = stage.crm, stage.sandbox
    crm.channels(*KINDS, window=WIDE)
    for name, (kind, status) in KINDS.items():
        if (kind, when) != ("no_msg_id", "before"):
            sandbox.fault(kind, when=when, status=status, channel=name, count=1)
            crm.enqueue([name], channel=name, to=lambda _: number(len(name)), on_doubt=on_doubt)  # noqa: B023
    stage.send()
    assert set(crm.states()) == {"in_doubt"}
    stage.live(50, step_s=25)
    assert set(crm.states()) == {"in_doubt"}, "it was decided before evidence could have come"

    stage.live(60, step_s=10)

    taken_before = {"before": 0, "after": 1}[when]
    resent = {"hold": 0, "resend": 1}[on_doubt]
    found = Counter(entry.text for entry in sandbox.ledger())
    assert {found[row.content["text"]] for row in crm.messages()} == {taken_before + resent}
    if on_doubt == "hold":
        assert {(row.state.value, row.attention) for row in crm.messages()} == {("in_doubt", "in_doubt")}
    else:
        assert {(row.state.value, row.attempts, row.resends) for row in crm.messages()} == {("delivered", 2, 1)}


def test_a_message_is_never_sent_a_third_time_by_policy(stage: Stage) -> None:
    stage.sandbox.fault("error", when="after")
    stage.crm.enqueue(["unlucky"], on_doubt="resend")
    stage.send()

    stage.live(600, step_s=30)

    (message,) = stage.crm.messages()
    assert len(stage.sandbox.requests()) == 2
    assert (message.state, message.attention, message.attempts, message.resends) == ("in_doubt", "in_doubt", 2, 1)


def test_while_its_channel_is_down_a_doubt_waits(stage: Stage) -> None:
    in_doubt(stage, "before", on_doubt="resend")
    stage.sandbox.set_status("default", "need_scan")
    stage.live(300, step_s=60)
    assert stage.crm.channel().state is ChannelState.DOWN
    assert stage.crm.states() == ["in_doubt"]
    stage.sandbox.scan("default")
    stage.live(200, step_s=20, until=lambda: stage.crm.states() == ["delivered"])
    assert copies(stage) == 1


@pytest.mark.parametrize("state", [ChannelState.MUTE, ChannelState.PAUSED, ChannelState.UNKNOWN])
def test_a_doubt_on_a_channel_that_is_not_up_is_looked_at_ever_more_rarely_and_at_once_when_it_is(
    stage: Stage, state: ChannelState
) -> None:
    crm = stage.crm
    in_doubt(stage, "before", on_doubt="resend")
    waits_s = []
    for _ in range(4):
        stage.pass_time(3000)
        crm.set_channel("default", state=state, since=crm.parts.clock())  # out for too short a time to tell a person
        stage.judge()
        (message,) = crm.messages()
        waits_s.append((message.next_check_at - crm.parts.clock()).total_seconds())
    assert waits_s == pytest.approx([300, 600, 600, 600], abs=30)

    crm.set_channel("default", state=ChannelState.UNKNOWN, check_due_at=crm.parts.clock())
    stage.check()

    (message,) = crm.messages()
    assert crm.channel().state is ChannelState.UP
    assert message.next_check_at <= crm.parts.clock()


def test_a_later_message_to_the_same_person_waits_for_the_doubt_and_others_do_not(stage: Stage) -> None:
    in_doubt(stage, "before", on_doubt="resend")
    stage.crm.enqueue(["to the same person"])
    stage.crm.enqueue(["to another"], to=lambda _: number(7))
    stage.live(20)
    assert stage.crm.texts() == ["to another"]
    stage.live(200, until=lambda: len(stage.crm.texts()) == 3)
    assert stage.crm.texts() == ["to another", "unlucky", "to the same person"]


def test_held_for_a_person_a_doubt_holds_up_nobody(stage: Stage) -> None:
    in_doubt(stage, "before")
    stage.crm.enqueue(["to the same person"])
    stage.live(200, step_s=20, until=lambda: stage.crm.texts() == ["to the same person"])
    assert stage.crm.messages()[0].attention == "in_doubt"


def test_a_message_that_a_later_one_to_the_same_person_has_overtaken_is_not_sent_again(stage: Stage) -> None:
    in_doubt(stage, "before", on_doubt="resend")
    stage.crm.enqueue(["later"])
    stage.crm.set_message(1, attention="in_doubt")  # as if it had been held
    stage.live(10)
    assert stage.crm.states() == ["in_doubt", "delivered"]
    stage.crm.set_message(1, attention=None)
    stage.live(120, step_s=20)
    assert stage.crm.texts() == ["later"], "their order was turned round"
    assert stage.crm.messages()[0].attention == "in_doubt"


# A worker that is lost


@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
@pytest.mark.parametrize("posted", [False, True])
def test_what_a_lost_worker_was_sending_is_treated_as_any_doubt(stage: Stage, posted: bool, on_doubt: str) -> None:
    stage.crm.enqueue(["unlucky"], on_doubt=on_doubt)
    lose_a_worker(stage, posted=posted)

    stage.live(120, step_s=20)

    (message,) = stage.crm.messages()
    resent = on_doubt == "resend"
    assert copies(stage) == posted + resent
    assert message.state == ("delivered" if resent else "in_doubt")
    assert message.attention == (None if resent else "in_doubt")


# By webhooks


@pytest.mark.usefixtures("webhooks")
@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
@pytest.mark.parametrize("fired", ["sent with id", "sent", "upsert"])
def test_a_webhook_about_the_message_settles_the_doubt(
    stage: Stage, fired: str, on_doubt: str, hearing: Callable[[int], None]
) -> None:
    stage.sandbox.switch("send_events", fired.split()[0])
    stage.sandbox.switch("message_sent_msg_id", fired == "sent with id")

    in_doubt(stage, "after", on_doubt=on_doubt)
    hearing(3)
    stage.live(150, step_s=30)

    assert copies(stage) == 1, "it was sent again although WhatsApp had it"
    (message,) = stage.crm.messages()
    assert (message.state, message.attention, message.duplicates) == ("delivered", None, 0)
    assert {row.source for row in stage.crm.events(1)[3:]} == {"webhook"}


@pytest.mark.usefixtures("webhooks")
def test_a_webhook_about_a_lost_workers_message_settles_the_doubt(
    stage: Stage, hearing: Callable[[int], None]
) -> None:
    stage.crm.enqueue(["unlucky"], on_doubt="resend")
    lose_a_worker(stage, posted=True)
    hearing(4)
    stage.live(150, step_s=30)
    assert copies(stage) == 1
    assert stage.crm.states() == ["delivered"]


@pytest.mark.usefixtures("webhooks")
def test_a_message_whose_last_webhook_is_lost_is_neither_sent_again_nor_taken_for_a_mute_session(
    stage: Stage, hearing: Callable[[int], None]
) -> None:
    stage.sandbox.switch("update_skip", 1.0)
    in_doubt(stage, "after", on_doubt="resend")
    hearing(2)
    assert stage.crm.states() == ["accepted"]
    stage.crm.enqueue([f"{index}" for index in range(20)], to=lambda index: number(10 + index))
    stage.live(300, step_s=10, until=lambda: stage.crm.states()[1:] == ["delivered"] * 20)
    stage.live(600, step_s=60)
    assert copies(stage) == 1
    assert ChannelState.MUTE not in {row.after for row in stage.crm.events(None)}


# By message logs


@pytest.fixture
def with_token(options: dict[str, object]) -> None:
    options["WASENDER_PERSONAL_ACCESS_TOKEN"] = TOKEN


@pytest.mark.usefixtures("with_token")
def test_a_message_that_the_log_has_is_adopted_with_its_id(stage: Stage) -> None:
    an_earlier_one(stage)
    in_doubt(stage, "after", on_doubt="resend")
    stage.live(60, until=lambda: stage.crm.states() == ["delivered", "delivered"])

    (entry,) = stage.sandbox.ledger(text="unlucky")
    assert stage.crm.messages()[1].gateway_msg_id == entry.msg_id
    found = stage.crm.events(2)[3]
    assert (found.before, found.after, found.source, found.reason) == ("in_doubt", "accepted", "logs", "found")
    assert found.evidence["gateway_msg_id"] == entry.msg_id


@pytest.mark.usefixtures("with_token")
def test_nothing_is_adopted_from_a_log_whose_ids_nobody_has_verified(stage: Stage) -> None:
    in_doubt(stage, "after", on_doubt="resend")
    stage.live(120, step_s=10)
    (message,) = stage.crm.messages()
    assert (message.state, message.attention) == ("in_doubt", "in_doubt")
    assert copies(stage) == 1


@pytest.mark.usefixtures("with_token")
@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
def test_a_message_that_the_log_proves_absent_is_sent_again_whatever_its_policy(stage: Stage, on_doubt: str) -> None:
    in_doubt(stage, "before", on_doubt=on_doubt)
    stage.live(100, step_s=10)
    assert stage.crm.states() == ["in_doubt"], "a request that was given up may still be worked on"
    stage.live(120, step_s=10, until=lambda: stage.crm.states() == ["delivered"])

    assert copies(stage) == 1
    (message,) = stage.crm.messages()
    assert (message.attempts, message.doubts, message.resends) == (2, 1, 0)
    assert "absent_from_logs" in [row.reason for row in stage.crm.events(1)]


@pytest.mark.usefixtures("with_token")
def test_both_are_told_apart_among_many_messages_on_several_pages_of_the_log(stage: Stage) -> None:
    for index in range(30):
        post_from_elsewhere(stage, number(300 + index), f"before {index}")
    an_earlier_one(stage)
    in_doubt(stage, "before", words="absent")
    stage.pass_time(2)  # the rest after trouble is over
    stage.crm.enqueue(["taken"], to=lambda _: number(2))
    stage.sandbox.fault("reset", when="after", count=1)
    stage.send()
    for index in range(120):
        post_from_elsewhere(stage, number(400 + index), f"after {index}")

    stage.live(200, step_s=10, until=lambda: set(stage.crm.states()) == {"delivered"})

    assert (copies(stage, "absent"), copies(stage, "taken")) == (1, 1)
    assert [row.attempts for row in stage.crm.messages()] == [1, 2, 1]


@pytest.mark.usefixtures("with_token")
@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
def test_two_alike_rows_for_one_message_leave_it_to_a_person(stage: Stage, on_doubt: str) -> None:
    in_doubt(stage, "after", on_doubt=on_doubt)
    post_from_elsewhere(stage, number(0), "unlucky")

    stage.live(600, step_s=30)

    (message,) = stage.crm.messages()
    assert copies(stage) == 2, "it was sent again although the log has it"
    assert (message.state, message.attention) == ("in_doubt", "in_doubt")


@pytest.mark.usefixtures("with_token")
@pytest.mark.parametrize("on_doubt", ["hold", "resend"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_log_without_contents_proves_nothing_and_the_policy_decides(stage: Stage, when: str, on_doubt: str) -> None:
    stage.sandbox.change_channel("default", log_messages=False)
    in_doubt(stage, when, on_doubt=on_doubt)

    stage.live(600, step_s=30)

    (message,) = stage.crm.messages()
    assert copies(stage) == (when == "after") + (on_doubt == "resend")
    assert (message.state, message.attention) == (
        ("delivered", None) if on_doubt == "resend" else ("in_doubt", "in_doubt")
    )


@pytest.mark.usefixtures("with_token")
def test_a_log_that_cannot_be_read_for_a_moment_is_asked_again(stage: Stage) -> None:
    an_earlier_one(stage)
    in_doubt(stage, "after", on_doubt="resend")
    fault = stage.sandbox.fault("html", endpoint="message-logs")
    stage.live(90, step_s=10)
    assert stage.crm.states()[1] == "in_doubt"
    assert stage.crm.messages()[1].attention is None
    stage.sandbox.clear_faults(fault)
    stage.live(60, step_s=10, until=lambda: stage.crm.states()[1] == "delivered")
    assert copies(stage) == 1


# A tick wins over everything, and late


def held_back(stage: Stage, **request: str) -> None:
    """WaSender has it, but WhatsApp will tick it much later; the answer was lost."""
    stage.sandbox.mute("default")
    in_doubt(stage, "after", **request)  # type: ignore[arg-type]


@pytest.mark.usefixtures("webhooks")
def test_a_late_tick_wins_over_a_doubt_that_is_held(stage: Stage, hearing: Callable[[int], None]) -> None:
    held_back(stage)
    stage.live(120, step_s=20)
    assert stage.crm.messages()[0].attention == "in_doubt"
    stage.sandbox.unmute("default")
    hearing(4)
    (message,) = stage.crm.messages()
    assert (message.state, message.attention) == ("delivered", None)


@pytest.mark.usefixtures("webhooks")
def test_a_late_tick_wins_over_an_expired_message(stage: Stage, hearing: Callable[[int], None]) -> None:
    held_back(stage, on_doubt="resend")
    stage.crm.set_message(1, expires_at=stage.parts.clock() + timedelta(seconds=80))
    stage.pass_time(70)
    stage.judge()
    assert stage.crm.states() == ["queued"]
    stage.pass_time(20)
    stage.beat()
    assert stage.crm.states() == ["expired"]
    stage.sandbox.unmute("default")
    hearing(4)
    assert stage.crm.states() == ["delivered"]
    assert copies(stage) == 1


@pytest.mark.usefixtures("webhooks")
def test_a_late_tick_calls_a_message_back_from_the_queue(stage: Stage, hearing: Callable[[int], None]) -> None:
    held_back(stage, on_doubt="resend")
    stage.pass_time(70)
    stage.judge()
    assert stage.crm.states() == ["queued"]
    stage.sandbox.unmute("default")
    hearing(4)
    stage.live(30)
    assert stage.crm.states() == ["delivered"]
    assert copies(stage) == 1


@pytest.mark.usefixtures("webhooks")
def test_a_late_tick_wins_over_a_failure(stage: Stage, hearing: Callable[[int], None]) -> None:
    stage.sandbox.mute("default")
    stage.crm.enqueue(["hello"])
    stage.send()
    stage.webhook("message.sent", {"success": False, "error": f"Failed to send message: Invalid JID: {number(0)}"})
    stage.hear()
    assert stage.crm.states() == ["failed"]
    stage.sandbox.unmute("default")
    hearing(4)
    stage.live(1200, step_s=120, until=lambda: stage.crm.states() == ["delivered"])
    assert stage.crm.messages()[0].error_code is None


@pytest.mark.usefixtures("webhooks")
def test_a_failure_that_named_the_number_only_is_asked_about_and_whatsapps_tick_wins(stage: Stage) -> None:
    stage.sandbox.mute("default")
    stage.sandbox.switch("send_events", "none")
    stage.sandbox.switch("update_skip", 1.0)
    stage.crm.enqueue(["hello"])
    stage.send()
    stage.webhook("message.sent", {"success": False, "error": f"Failed to send message: Invalid JID: {number(0)}"})
    stage.hear()
    assert stage.crm.states() == ["failed"]
    stage.sandbox.unmute("default")
    stage.live(60, until=lambda: stage.crm.states() == ["delivered"])
    assert stage.crm.messages()[0].error_code is None


@pytest.mark.usefixtures("webhooks")
def test_a_failure_that_named_the_number_only_and_stays_one_is_asked_about_for_a_while(stage: Stage) -> None:
    stage.sandbox.mute("default", then="stuck")
    stage.crm.enqueue(["hello"])
    stage.send()
    stage.webhook("message.sent", {"success": False, "error": f"Failed to send message: Invalid JID: {number(0)}"})
    stage.hear()
    stage.live(600, step_s=60)
    assert stage.crm.messages()[0].checks >= 4
    stage.live(2 * 3600, step_s=900)
    message = stage.crm.messages()[0]
    assert (message.state, message.next_check_at) == ("failed", None)


@pytest.mark.usefixtures("webhooks")
def test_the_originals_late_tick_after_a_resend_is_a_duplicate_counted_once_with_an_event(
    stage: Stage, hearing: Callable[[int], None]
) -> None:
    held_back(stage, on_doubt="resend")
    stage.pass_time(70)
    stage.judge()
    stage.send()
    assert copies(stage) == 2
    stage.sandbox.unmute("default")
    hearing(8)
    stage.live(300, step_s=30)

    (message,) = stage.crm.messages()
    assert (message.state, message.duplicates, message.resends) == ("delivered", 1, 1)
    duplicates = [row for row in stage.crm.events(1) if row.reason == "duplicate"]
    assert len(duplicates) == 1
    assert {row.ack for row in stage.crm.attempts()} == {3}
    assert stage.sandbox.verdict()["duplicates"] == 1
