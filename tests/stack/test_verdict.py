"""The demonstration's verdict must see what it claims to exclude."""

from dataclasses import replace

import pytest

from wasender_sandbox.records import LedgerEntry, SendRequest
from worker.demo.verdict import Told, Verdict, verdict


def told(seq: int, *, to: str = "+919876500001", status: str = "sent", **changes: object) -> Told:
    given = Told(
        seq=seq, status=status, recipient=to, text=f"text {seq}", gateway_msg_id=100 + seq, should_arrive=True
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def got(seq: int, *, index: int | None = None, to: str = "+919876500001", **changes: object) -> LedgerEntry:
    """What the sandbox accepted for message `seq`, and WhatsApp acknowledged."""
    given = LedgerEntry(
        index=seq if index is None else index,
        ack_index=seq,
        msg_id=100 + seq,
        key_id="3EB0",
        channel="default",
        to=to,
        recipient=to,
        kind="text",
        text=f"text {seq}",
        payload={},
        status=2,
        log_status="sent",
        failed_reason=None,
        request_at=1.0,
        received_at=1.0,
        acked_at=2.0,
        delivered_at=None,
        read_at=None,
        edited_text=None,
        deleted=False,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def refused(reason: str) -> SendRequest:
    return SendRequest(
        index=0,
        arrived_at=1.0,
        answered_at=1.0,
        channel="default",
        to="+919876500001",
        recipient="",
        decision="refused",
        reason=reason,
        msg_id=None,
        answer=429,
        in_flight=1,
    )


def test_statuses_that_are_true_are_proven() -> None:
    found = verdict([told(1), told(2)], [got(1), got(2)])
    assert found == Verdict(proven=2, false_sent=0, duplicates=0, out_of_order=0, over_limit=0, missing=0)
    assert found.clean


@pytest.mark.parametrize(
    "ledger",
    [
        [],
        [got(1, acked_at=None, log_status="in_progress")],
        [got(1, msg_id=999)],
        [got(1, recipient="+919876500002")],
        [got(1, text="another text")],
    ],
    ids=["never posted", "accepted without a tick", "another id", "another recipient", "another text"],
)
def test_sent_without_whatsapps_tick_is_false(ledger: list[LedgerEntry]) -> None:
    found = verdict([told(1)], ledger)
    assert (found.proven, found.false_sent, found.clean) == (0, 1, False)


@pytest.mark.parametrize("status", ["delivered", "read"])
def test_a_tick_more_than_whatsapp_gave_is_false_too(status: str) -> None:
    assert verdict([told(1, status=status)], [got(1)]).false_sent == 1
    assert verdict([told(1, status=status)], [got(1, delivered_at=3.0, read_at=4.0)]).false_sent == 0


def test_a_tick_less_than_whatsapp_gave_is_no_contradiction() -> None:
    assert verdict([told(1)], [got(1, delivered_at=3.0, read_at=4.0)]).clean


def test_sent_without_an_id_of_the_gateway_is_false() -> None:
    assert verdict([told(1, gateway_msg_id=None)], [got(1)]).false_sent == 1


def test_the_same_text_twice_at_whatsapp_is_a_duplicate() -> None:
    found = verdict([told(1)], [got(1), got(1, index=7, msg_id=107), got(1, index=8, msg_id=108)])
    assert (found.duplicates, found.clean) == (2, False)


def test_a_send_that_failed_at_the_gateway_and_was_repeated_is_none() -> None:
    assert verdict([told(1)], [got(1, index=0, msg_id=99, log_status="failed", acked_at=None), got(1)]).clean


def test_the_same_text_to_another_recipient_is_no_duplicate() -> None:
    messages = [told(1), told(2, to="+919876500002", text="text 1")]
    assert verdict(messages, [got(1), got(2, to="+919876500002", text="text 1")]).duplicates == 0


def test_overtaking_to_the_same_recipient_is_out_of_order() -> None:
    found = verdict([told(1), told(2), told(3)], [got(2, index=0), got(1, index=1), got(3, index=2)])
    assert (found.out_of_order, found.clean) == (1, False)


def test_overtaking_to_another_recipient_is_allowed() -> None:
    other = "+919876500002"
    assert verdict([told(1), told(2, to=other)], [got(2, index=0, to=other), got(1, index=1)]).clean


def test_a_refusal_for_speed_is_over_the_limit_and_others_are_not() -> None:
    found = verdict([told(1)], [got(1)], [refused("throttle"), refused("not_on_whatsapp"), refused("not_connected")])
    assert (found.over_limit, found.clean) == (1, False)


@pytest.mark.parametrize("status", ["pending", "failed", "expired"])
def test_what_should_have_arrived_and_did_not_is_missing(status: str) -> None:
    found = verdict([told(1, status=status)], [])
    assert (found.missing, found.clean) == (1, False)


def test_what_could_not_arrive_may_fail() -> None:
    assert verdict([told(1, status="failed", recipient=None, gateway_msg_id=None, should_arrive=False)], []).clean
