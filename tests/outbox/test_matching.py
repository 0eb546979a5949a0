"""Which attempt a webhook means: by ids, by recipient and content, and none where several messages fit."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.outbox.desk import ALICE, BOB, NOON, Desk
from worker.domain.evidence import Ack
from worker.domain.outcomes import Cause
from worker.domain.text_digest import text_digest
from worker.domain.webhook_fact import SendFailed, SentSeen
from worker.outbox.matching import LONGEST_WAY, Match, match_failed, match_sent


def sent(text: str = "Hello", to: str | None = ALICE, key_id: str = "3EB0", msg_id: int | None = None) -> SentSeen:
    return SentSeen(
        whatsapp_key_id=key_id,
        recipient=to,
        text_digest=text_digest(text) if text else None,
        gateway_msg_id=msg_id,
    )


def of_sent(desk: Desk, channel_id: int, fact: SentSeen, received_at: datetime | None = None) -> Match:
    match: Match = desk.write(lambda c: match_sent(c, channel_id, fact, received_at=received_at or desk.now))
    return match


def of_failed(desk: Desk, channel_id: int, **fact: Any) -> int | None:
    received_at = fact.pop("received_at", desk.now)
    match: Match = desk.write(lambda c: match_failed(c, channel_id, SendFailed(**fact), received_at=received_at))
    return match.row and match.row.seq


def posted(desk: Desk, channel_id: int, cause: Cause, to: str = ALICE, text: str = "Hello", msg_id: int = 7) -> int:
    seq = desk.enqueue(channel_id, to, text)
    if desk.channel_row(channel_id).lease_token is None:
        desk.lease()
    claim = desk.claim_one(channel_id)
    assert claim.seq == seq
    desk.finish(claim, cause, gateway_msg_id=msg_id if cause is Cause.ACCEPTED else None)
    return seq


def nothing(match: Match) -> bool:
    return match.row is None and not match.unclear


def test_wasenders_id_names_the_attempt(desk: Desk) -> None:
    channel_id = desk.channel()
    posted(desk, channel_id, Cause.ACCEPTED, msg_id=7)
    second = posted(desk, channel_id, Cause.ACCEPTED, msg_id=8)
    match = of_sent(desk, channel_id, sent(msg_id=8))
    assert (match.row.seq, match.row.number, match.row.state) == (second, 1, "accepted")


def test_whatsapps_id_names_the_attempt_whatever_else_is_said(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = posted(desk, channel_id, Cause.ACCEPTED)
    desk.tick(seq, Ack.PENDING, whatsapp_key_id="3EB0")
    match = of_sent(desk, channel_id, sent(text="", to=None))
    assert match.row.seq == seq


@pytest.mark.parametrize("cause", [Cause.ACCEPTED, Cause.TIMEOUT, Cause.SERVER_ERROR])
def test_recipient_and_text_find_an_attempt_that_nobody_has_named(desk: Desk, cause: Cause) -> None:
    channel_id = desk.channel()
    seq = posted(desk, channel_id, cause)
    posted(desk, channel_id, Cause.ACCEPTED, to=BOB)
    assert of_sent(desk, channel_id, sent(text=" Hello\n")).row.seq == seq


def test_wasenders_id_that_nobody_has_heard_of_may_be_that_of_a_message_in_doubt(desk: Desk) -> None:
    """Its own answer would have told the id, and never came."""
    channel_id = desk.channel()
    seq = posted(desk, channel_id, Cause.TIMEOUT)
    assert of_sent(desk, channel_id, sent(msg_id=99)).row.seq == seq


def test_wasenders_id_is_never_that_of_an_attempt_which_has_another(desk: Desk) -> None:
    channel_id = desk.channel()
    posted(desk, channel_id, Cause.ACCEPTED, msg_id=7)
    assert nothing(of_sent(desk, channel_id, sent(msg_id=99)))


def test_what_fits_two_messages_fits_none_until_one_of_them_is_named(desk: Desk) -> None:
    channel_id = desk.channel()
    first = posted(desk, channel_id, Cause.ACCEPTED, msg_id=1)
    second = posted(desk, channel_id, Cause.ACCEPTED, msg_id=2)
    assert of_sent(desk, channel_id, sent()) == Match(unclear=True)
    desk.tick(first, Ack.SERVER, whatsapp_key_id="another")
    assert of_sent(desk, channel_id, sent()).row.seq == second


def test_two_attempts_of_one_message_leave_no_doubt_about_the_message(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = posted(desk, channel_id, Cause.TIMEOUT)
    desk.requeue(seq)
    desk.finish(desk.claim_one(channel_id), Cause.TIMEOUT)
    row = of_sent(desk, channel_id, sent()).row
    assert (row.seq, row.number) == (seq, 2)


def test_a_webhook_that_is_faster_than_wasenders_answer_waits_for_it(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    claim = desk.leased_claim(channel_id)
    assert of_sent(desk, channel_id, sent()) == Match(unclear=True)
    assert nothing(of_sent(desk, channel_id, sent("Good morning")))
    desk.finish(claim, Cause.ACCEPTED, gateway_msg_id=7)
    assert of_sent(desk, channel_id, sent()).row.seq == seq


@pytest.mark.parametrize(
    "fact",
    [sent("Good bye"), sent(to=BOB), sent(to=None), sent(text="")],
    ids=["another text", "another recipient", "no recipient", "no text"],
)
def test_what_does_not_fit_is_matched_to_nothing(desk: Desk, fact: SentSeen) -> None:
    channel_id = desk.channel()
    posted(desk, channel_id, Cause.ACCEPTED)
    assert nothing(of_sent(desk, channel_id, fact))


@pytest.mark.parametrize("cause", [Cause.UNREACHABLE, Cause.NOT_ON_WHATSAPP])
def test_an_attempt_that_proved_nothing_went_out_is_never_meant(desk: Desk, cause: Cause) -> None:
    channel_id = desk.channel()
    posted(desk, channel_id, cause)
    assert nothing(of_sent(desk, channel_id, sent()))


def test_a_message_of_another_channel_is_never_meant(desk: Desk) -> None:
    ours, other = desk.channel("ours"), desk.channel("other")
    seq = posted(desk, ours, Cause.ACCEPTED)
    desk.tick(seq, Ack.PENDING, whatsapp_key_id="known")
    assert nothing(of_sent(desk, other, sent(msg_id=7)))
    assert nothing(of_sent(desk, other, sent(key_id="known")))
    assert nothing(of_sent(desk, other, sent()))
    assert of_failed(desk, other, recipient=ALICE) is None
    assert of_failed(desk, other, gateway_msg_id=7) is None


def test_a_webhook_means_no_attempt_that_began_after_it_or_ended_long_before(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = posted(desk, channel_id, Cause.ACCEPTED)
    assert of_sent(desk, channel_id, sent(), NOON).row.seq == seq
    assert nothing(of_sent(desk, channel_id, sent(), NOON - timedelta(milliseconds=1)))
    assert of_sent(desk, channel_id, sent(), NOON + LONGEST_WAY).row.seq == seq
    assert nothing(of_sent(desk, channel_id, sent(), NOON + LONGEST_WAY + timedelta(seconds=1)))


def test_the_message_of_a_lost_worker_is_found_though_nobody_knows_when_its_post_began(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    desk.leased_claim(channel_id)
    seen_at = desk.now
    desk.wait(20)
    desk.doubt([channel_id])
    assert of_sent(desk, channel_id, sent(), seen_at).row.seq == seq


# Failed


def test_a_failure_with_wasenders_id_means_that_attempt(desk: Desk) -> None:
    channel_id = desk.channel()
    posted(desk, channel_id, Cause.ACCEPTED, msg_id=7)
    second = posted(desk, channel_id, Cause.ACCEPTED, msg_id=8)
    assert of_failed(desk, channel_id, gateway_msg_id=8, recipient=BOB) == second
    assert of_failed(desk, channel_id, gateway_msg_id=9, recipient=ALICE) is None


def test_a_failure_that_names_the_number_only_means_the_one_accepted_message_to_it(desk: Desk) -> None:
    channel_id = desk.channel()
    ticked = posted(desk, channel_id, Cause.ACCEPTED, msg_id=1)
    desk.tick(ticked, Ack.SERVER)
    seq = posted(desk, channel_id, Cause.ACCEPTED, msg_id=2)
    posted(desk, channel_id, Cause.ACCEPTED, to=BOB, msg_id=3)
    assert of_failed(desk, channel_id, recipient=ALICE) == seq


def test_a_failure_that_is_heard_late_means_no_message_that_went_out_since(desk: Desk) -> None:
    channel_id = desk.channel()
    received_at = desk.now
    desk.wait(1)
    seq = posted(desk, channel_id, Cause.ACCEPTED, msg_id=1)
    assert of_failed(desk, channel_id, recipient=ALICE, received_at=received_at) is None
    assert of_failed(desk, channel_id, recipient=ALICE) == seq


def test_a_failure_that_comes_twice_means_no_later_message(desk: Desk) -> None:
    channel_id = desk.channel()
    first = posted(desk, channel_id, Cause.ACCEPTED, msg_id=1)
    desk.tick(first, Ack.ERROR)
    desk.wait(1)
    later = posted(desk, channel_id, Cause.ACCEPTED, msg_id=2)
    assert of_failed(desk, channel_id, recipient=ALICE) is None
    desk.wait(LONGEST_WAY.total_seconds() + 1)
    assert of_failed(desk, channel_id, recipient=ALICE) == later


@pytest.mark.parametrize("also", ["accepted", "sending", "in doubt"])
def test_with_another_open_message_to_that_number_it_means_nothing(desk: Desk, also: str) -> None:
    channel_id = desk.channel()
    posted(desk, channel_id, Cause.ACCEPTED, msg_id=1)
    if also == "accepted":
        posted(desk, channel_id, Cause.ACCEPTED, msg_id=2)
    else:
        desk.enqueue(channel_id)
        claim = desk.claim_one(channel_id)
        if also == "in doubt":
            desk.finish(claim, Cause.TIMEOUT)
    assert of_failed(desk, channel_id, recipient=ALICE) is None


@pytest.mark.parametrize("cause", [Cause.TIMEOUT, Cause.UNREACHABLE, Cause.REFUSED])
def test_a_failure_without_an_id_means_no_message_that_wasender_is_not_known_to_have(
    desk: Desk, cause: Cause
) -> None:
    channel_id = desk.channel()
    posted(desk, channel_id, cause)
    assert of_failed(desk, channel_id, recipient=ALICE) is None
    assert of_failed(desk, channel_id) is None
