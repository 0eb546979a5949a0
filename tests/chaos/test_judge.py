"""The judge cannot be blind: for each promise a doctored run that breaks it, and one beside it that just does not."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.evidence import Disturbance, Evidence, Mute, Offer, Outage, Step, Stored
from tests.chaos.judge import Broken, Verdict, judge
from wasender_sandbox.records import LedgerEntry

START = 1_000_000.0


def message(number: int, **given: Any) -> Stored:
    """A bulk message to one and the same person, delivered; it came to the queue at its own number's second."""
    usual: dict[str, Any] = {
        "seq": number,
        "id": UUID(int=number),
        "channel": "sales",
        "recipient": "+917033000001",
        "rank": 1,
        "due_at": START + number,
        "text": f"message {number}",
        "state": "delivered",
        "error_code": None,
        "attention": None,
        "resends": 0,
    }
    return Stored(**usual | given)


def entry(number: int, index: int, **given: Any) -> LedgerEntry:
    """WaSender accepted that message, ten seconds after it came, and WhatsApp ticked it."""
    at = START + 10 + index
    usual: dict[str, Any] = {
        "index": index,
        "ack_index": index,
        "msg_id": 5000 + index,
        "key_id": f"3EB0{index:016X}",
        "channel": "sales",
        "to": "+917033000001",
        "recipient": "+917033000001",
        "kind": "text",
        "text": f"message {number}",
        "payload": {},
        "status": 3,
        "log_status": "sent",
        "failed_reason": None,
        "request_at": at,
        "received_at": at,
        "acked_at": at + 0.3,
        "delivered_at": at + 0.8,
        "read_at": None,
        "edited_text": None,
        "deleted": False,
    }
    return LedgerEntry(**usual | given)


CLAIMED_AT = START + 9.9


def history(number: int, *states: str, first_id: int | None = None) -> list[Step]:
    """Transitions through these states. Both messages are stored, then claimed, then POSTed, then ticked."""
    first, further = (number, number * 100) if first_id is None else (first_id, first_id)
    times = {"queued": START + number, "sending": CLAIMED_AT}
    return [
        Step(
            id=further + place if place else first,
            seq=number,
            at=times.get(after, START + 1000),
            source="worker",
            before=states[place - 1] if place else None,
            after=after,
            reason="",
        )
        for place, after in enumerate(states)
    ]


WAY = ("queued", "sending", "accepted", "sent", "delivered")


def good_run() -> Evidence:
    """Two messages to one person, stored one after the other, both arrived, in order, once."""
    return Evidence(
        messages=[message(1), message(2)],
        steps=sorted(history(1, *WAY) + history(2, *WAY), key=lambda step: step.id),
        ledger=[entry(1, 0), entry(2, 1)],
        rate_violations=0,
        offers=[
            Offer(id=UUID(int=number), text=f"message {number}", way="task", begun_at=START, promised=True)
            for number in (1, 2)
        ],
    )


def broken(evidence: Evidence) -> list[Broken]:
    return [violation.broken for violation in judge(evidence).violations]


def changed(evidence: Evidence, seq: int, **given: Any) -> Evidence:
    """The same run with another row in Truetick's database, and a history that leads there."""
    messages = [replace(one, **given) if one.seq == seq else one for one in evidence.messages]
    steps = [step for step in evidence.steps if step.seq != seq]
    ways = {
        "failed": ("queued", "sending", "failed"),
        "in_doubt": ("queued", "sending", "in_doubt"),
        "accepted": ("queued", "sending", "accepted"),
        "queued": ("queued",),
        "sending": ("queued", "sending"),
    }
    way = ways.get(given.get("state", ""), WAY)
    return replace(evidence, messages=messages, steps=sorted(steps + history(seq, *way), key=lambda step: step.id))


def without(evidence: Evidence, number: int) -> Evidence:
    """The same run, but WaSender never got that message."""
    return replace(evidence, ledger=[one for one in evidence.ledger if one.text != f"message {number}"])


def test_a_good_run_is_called_good() -> None:
    verdict: Verdict = judge(good_run())
    assert verdict.kept
    assert (verdict.messages, verdict.sent, verdict.excused_duplicates) == (2, 2, 0)


def test_a_message_called_delivered_that_whatsapp_does_not_have_is_false_sent() -> None:
    assert broken(without(good_run(), 2)) == [Broken.FALSE_SENT]


def test_acceptance_without_a_tick_is_not_arrival() -> None:
    run = good_run()
    accepted_only = replace(run.ledger[1], acked_at=None, ack_index=None, status=1)
    assert broken(replace(run, ledger=[run.ledger[0], accepted_only])) == [Broken.FALSE_SENT]


def test_called_sent_long_before_the_tick_is_false_sent() -> None:
    run = good_run()
    late = replace(run.ledger[1], acked_at=START + 1010.0)
    assert broken(replace(run, ledger=[run.ledger[0], late])) == [Broken.FALSE_SENT]


def test_a_promised_message_that_was_never_stored_is_lost() -> None:
    run = without(good_run(), 2)
    forgotten = replace(run, messages=run.messages[:1], steps=[step for step in run.steps if step.seq == 1])
    assert broken(forgotten) == [Broken.LOST]


def test_what_the_broker_lost_when_it_was_emptied_is_its_own_loss_but_a_202_is_a_promise() -> None:
    run = without(good_run(), 2)
    forgotten = replace(
        run,
        messages=run.messages[:1],
        steps=[step for step in run.steps if step.seq == 1],
        flushed_at=[START + 1],
    )
    verdict = judge(forgotten)
    assert verdict.kept
    assert verdict.lost_by_broker == 1

    by_http = [replace(offer, way="http") for offer in run.offers]
    assert broken(replace(forgotten, offers=by_http)) == [Broken.LOST]

    later = [replace(offer, begun_at=START + 2) for offer in run.offers]
    assert broken(replace(forgotten, offers=later)) == [Broken.LOST]


def test_what_the_broker_still_holds_and_what_was_never_promised_is_not_lost() -> None:
    run = without(good_run(), 2)
    forgotten = replace(run, messages=run.messages[:1], steps=[step for step in run.steps if step.seq == 1])
    assert judge(replace(forgotten, in_broker=frozenset({UUID(int=2)}))).kept
    assert judge(replace(forgotten, offers=[run.offers[0], replace(run.offers[1], promised=False)])).kept


def test_a_message_stored_with_anothers_text_is_lost() -> None:
    run = good_run()
    assert Broken.LOST in broken(changed(run, 2, text="message 7"))


def test_failing_needs_a_reason() -> None:
    run = without(good_run(), 2)
    assert judge(changed(run, 2, state="failed", error_code="not_on_whatsapp")).kept
    assert broken(changed(run, 2, state="failed")) == [Broken.LOST]


def test_failed_although_whatsapp_has_it_is_told() -> None:
    assert broken(changed(good_run(), 2, state="failed", error_code="rejected")) == [Broken.FALSE_FAILED]


@pytest.mark.parametrize("state", ["queued", "sending", "accepted", "in_doubt"])
def test_what_is_left_open_at_the_end_must_have_somebody_look_at_it(state: str) -> None:
    run = without(good_run(), 2)
    assert broken(changed(run, 2, state=state)) == [Broken.UNFINISHED]
    told = changed(run, 2, state=state, attention="no_proof")
    if state in {"accepted", "in_doubt"}:
        assert judge(told).kept
        assert judge(told).held == 1
    else:
        assert broken(told) == [Broken.UNFINISHED]


def test_twice_at_whatsapp_is_excused_only_by_the_messages_own_policy() -> None:
    run = good_run()
    twice = replace(run, ledger=[*run.ledger, entry(2, 2)])
    assert broken(twice) == [Broken.DUPLICATE]

    resent = changed(twice, 2, resends=1)
    assert judge(resent).kept
    assert judge(resent).excused_duplicates == 1

    thrice = replace(resent, ledger=[*resent.ledger, entry(2, 3)])
    assert broken(thrice) == [Broken.DUPLICATE]


def test_a_copy_that_whatsapp_never_got_is_no_duplicate() -> None:
    run = good_run()
    swallowed = entry(2, 2, acked_at=None, ack_index=None, status=1)
    assert judge(replace(run, ledger=[*run.ledger, swallowed])).kept


def test_the_later_of_two_messages_may_not_arrive_first() -> None:
    run = good_run()
    ledger = [entry(2, 0), entry(1, 1)]
    assert broken(replace(run, ledger=ledger)) == [Broken.ORDER]


def test_a_first_copy_that_whatsapp_never_got_gives_no_place() -> None:
    swallowed = entry(1, 0, acked_at=None, ack_index=None, status=1)
    run = replace(good_run(), ledger=[swallowed, entry(2, 1), entry(1, 2)])
    assert broken(changed(run, 1, resends=1)) == [Broken.ORDER]


def test_rank_and_recipient_and_channel_have_orders_of_their_own() -> None:
    ledger = [entry(2, 0), entry(1, 1)]
    for other in ({"rank": 0}, {"recipient": "+917033000002"}, {"channel": "support"}):
        assert judge(changed(replace(good_run(), ledger=ledger), 2, **other)).kept


def test_a_message_that_was_stored_after_the_others_claim_was_not_overtaken() -> None:
    ledger = [entry(2, 0), entry(1, 1)]
    run = replace(good_run(), ledger=ledger)
    others = [step for step in run.steps if step.seq == 2]
    late = sorted(others + history(1, *WAY, first_id=900), key=lambda step: step.id)
    assert judge(replace(run, steps=late)).kept

    # Where the database tells when a message was committed, that is what counts.
    in_time = [replace(run.messages[0], committed_at=CLAIMED_AT - 1), run.messages[1]]
    too_late = [replace(run.messages[0], committed_at=CLAIMED_AT + 1), run.messages[1]]
    assert broken(replace(run, messages=in_time, steps=late)) == [Broken.ORDER]
    assert judge(replace(run, messages=too_late)).kept


def test_each_post_over_the_limit_counts() -> None:
    assert broken(replace(good_run(), rate_violations=2)) == [Broken.LIMIT, Broken.LIMIT]


@pytest.mark.parametrize(
    "way",
    [
        ("queued", "sending", "delivered", "sent", "delivered"),  # a step back
        ("queued", "delivered", "sending", "accepted", "delivered"),  # a ticked message sent again
        ("queued", "sending", "cancelled", "delivered"),  # out of a state that is the end
        ("queued", "sending", "accepted", "sent"),  # the row says delivered
        ("sending", "accepted", "delivered"),  # no beginning, but lawful from there on
    ],
)
def test_histories_must_be_lawful_and_lead_to_the_state(way: tuple[str, ...]) -> None:
    run = good_run()
    steps = [step for step in run.steps if step.seq == 1] + history(2, *way)
    if way[0] == "sending":
        steps = [replace(step, before="queued") if step.seq == 2 and step.before is None else step for step in steps]
    assert Broken.HISTORY in broken(replace(run, steps=steps))


def test_a_missing_transition_is_a_gap() -> None:
    run = good_run()
    steps = [step for step in run.steps if not (step.seq == 2 and step.after == "accepted")]
    assert broken(replace(run, steps=steps)) == [Broken.HISTORY]


def test_what_nobody_enqueued_may_not_reach_wasender() -> None:
    run = good_run()
    assert broken(replace(run, ledger=[*run.ledger, entry(99, 2)])) == [Broken.STRANGER]


def test_a_mute_spell_may_endanger_no_more_than_the_window_and_is_timed_to_its_notice() -> None:
    spell = Mute(channel="sales", began_at=START + 9, ended_at=START + 30, then="later")
    outage = Outage(
        channel="sales",
        state="mute",
        began_at=START + 9,
        noticed_at=START + 16,
        ended_at=START + 31,
        at_risk=frozenset({1, 2}),
    )
    run = good_run()
    held = [replace(one, acked_at=START + 31) for one in run.ledger]
    run = replace(run, ledger=held, mutes=[spell], outages=[outage], most_at_risk=2)
    verdict = judge(run)
    assert verdict.kept
    assert verdict.noticed_after_s == [7.0]
    assert (verdict.most_endangered, verdict.most_at_risk) == (2, 2)

    assert broken(replace(run, most_at_risk=1)) == [Broken.AT_RISK, Broken.AT_RISK]
    elsewhere = [replace(outage, channel="support", at_risk=frozenset()), replace(outage, state="down")]
    assert judge(replace(run, outages=elsewhere)).noticed_after_s == []


def test_what_an_earlier_spell_held_back_counts_for_that_spell_and_not_for_the_outage_after_it() -> None:
    spell = Mute(channel="sales", began_at=START + 9, ended_at=START + 12, then="stuck")
    outage = Outage(
        channel="sales",
        state="down",
        began_at=START + 19,
        noticed_at=START + 20,
        ended_at=START + 31,
        at_risk=frozenset({1, 2}),
    )
    run = good_run()
    held = [replace(one, acked_at=START + 100) for one in run.ledger]
    run = replace(run, ledger=held, outages=[outage], most_at_risk=1)
    assert broken(run) == [Broken.AT_RISK]
    assert judge(replace(run, mutes=[spell], most_at_risk=2)).most_at_risk == 0
    later = replace(held[1], index=2, received_at=START + 15)
    assert judge(replace(run, mutes=[spell], ledger=[held[0], later], most_at_risk=2)).most_at_risk == 1


def test_a_mute_spell_that_lasts_undisturbed_has_to_be_noticed() -> None:
    spell = Mute(channel="sales", began_at=START + 9, ended_at=START + 30, then="later")
    run = good_run()
    held = [replace(one, acked_at=START + 31) for one in run.ledger]
    run = replace(run, ledger=held, mutes=[spell], notice_within_s=15)
    assert broken(run) == [Broken.UNNOTICED]
    noticed = Outage(channel="sales", state="mute", began_at=START + 10, noticed_at=START + 25, ended_at=None)
    assert judge(replace(run, outages=[noticed])).kept
    assert judge(replace(run, outages=[replace(noticed, state="down")])).kept
    assert broken(replace(run, outages=[replace(noticed, channel="support")])) == [Broken.UNNOTICED]
    assert broken(replace(run, outages=[replace(noticed, ended_at=START + 8)])) == [Broken.UNNOTICED]
    assert judge(replace(run, disturbances=[Disturbance(began_at=START, ended_at=START + 11)])).kept
    assert broken(replace(run, disturbances=[Disturbance(began_at=START, ended_at=START + 9)])) == [Broken.UNNOTICED]
    assert judge(replace(run, notice_within_s=21)).kept


def test_what_whatsapp_had_long_ticked_may_not_be_sent_again_for_an_outage() -> None:
    again = ("queued", "sending", "accepted", "queued", "sending", "accepted", "delivered")
    run = changed(good_run(), 2, resends=1)
    steps = [
        replace(step, reason="resent_after_outage", at=START + 900)
        if (step.before, step.after) == ("accepted", "queued")
        else step
        for step in history(2, *again)
    ]
    run = replace(run, steps=sorted([*history(1, *WAY), *steps], key=lambda step: step.id))
    twice = [*run.ledger, entry(2, 2, received_at=START + 1001, request_at=START + 1001, acked_at=START + 1001.3)]
    assert Broken.DUPLICATE in broken(replace(run, ledger=twice))
    swallowed = [twice[0], replace(twice[1], acked_at=None), twice[2]]
    assert Broken.DUPLICATE not in broken(replace(run, ledger=swallowed))


def test_a_hostile_webhook_must_be_refused_and_may_not_break_the_server() -> None:
    assert judge(replace(good_run(), hostile_answers=[400, 401, 403, 404, 413, 503])).kept
    assert broken(replace(good_run(), hostile_answers=[401, 200])) == [Broken.HOSTILE]
    assert broken(replace(good_run(), hostile_answers=[500])) == [Broken.HOSTILE]


def test_a_process_that_ends_by_itself_is_told() -> None:
    assert broken(replace(good_run(), died=["one: Unrecoverable error"])) == [Broken.DIED]
