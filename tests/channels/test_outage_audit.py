"""Outages read back: how each began, was noticed and ended, and what became of the messages at risk."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from tests.outbox.desk import ALICE, BOB, CAROL, NOON, Desk
from worker.channels import outage_audit
from worker.channels.outage_audit import MessageAtRisk, OutageView
from worker.domain.channel_state import ChannelState
from worker.domain.errors import NotFound
from worker.domain.message_status import MessageState
from worker.models import Message, Outage, OutageMessage

S = MessageState


def outage(desk: Desk, channel_id: int, **values: Any) -> int:
    """A channel went down at 11:59 and that was noticed at noon. Returns its id."""
    down = {
        "channel_id": channel_id,
        "state": ChannelState.DOWN,
        "reason": "need_scan",
        "began_at": NOON - timedelta(minutes=1),
        "began_by": "last_check",
        "noticed_at": NOON,
        "noticed_by": "status",
    }
    outage_id: int = desk.write(
        lambda c: c.execute(insert(Outage).values(down | values).returning(Outage.id)).scalar_one()
    )
    return outage_id


def endanger(desk: Desk, outage_id: int, seq: int, then: MessageState = S.ACCEPTED, **now: Any) -> None:
    """A message was found to be at risk, and stands as `now` says."""
    values = {"outage_id": outage_id, "message_seq": seq, "state_then": then}
    desk.write(lambda c: c.execute(insert(OutageMessage).values(values)))
    if now:
        desk.write(lambda c: c.execute(update(Message).where(Message.seq == seq).values(**now)))


def listed(desk: Desk, **which: Any) -> list[OutageView]:
    found: list[OutageView] = desk.write(lambda c: outage_audit.list_outages(c, now=desk.now, **which))
    return found


def read(desk: Desk, outage_id: int) -> OutageView:
    found: OutageView = desk.write(lambda c: outage_audit.get(c, outage_id, now=desk.now))
    return found


def at_risk(desk: Desk, outage_id: int, **options: Any) -> Sequence[MessageAtRisk]:
    found: list[MessageAtRisk] = desk.write(lambda c: outage_audit.messages_at_risk(c, outage_id, **options))
    return found


def test_the_newest_outage_comes_first_and_the_list_can_be_narrowed(desk: Desk) -> None:
    sales, support = desk.channel("sales"), desk.channel("support")
    first = outage(desk, sales, ended_at=NOON + timedelta(minutes=5), ended_by="status")
    second = outage(desk, support)
    third = outage(desk, sales)

    assert [found.id for found in listed(desk)] == [third, second, first]
    assert [found.id for found in listed(desk, limit=2)] == [third, second]
    assert [found.id for found in listed(desk, channel="sales")] == [third, first]
    assert [found.id for found in listed(desk, open_only=True)] == [third, second]
    assert [found.id for found in listed(desk, channel="sales", open_only=True)] == [third]
    assert [found.channel for found in listed(desk)] == ["sales", "support", "sales"]


def test_a_channel_or_an_outage_that_is_not_there_is_said(desk: Desk) -> None:
    desk.channel("sales")
    assert listed(desk) == []
    with pytest.raises(NotFound, match=r"no channel named 'nowhere'. Known channels: sales"):
        listed(desk, channel="nowhere")
    with pytest.raises(NotFound, match=r"no outage 7. List them with: truetick outages"):
        read(desk, 7)


def test_an_outage_that_is_over_tells_how_long_it_lasted_and_took_to_notice(desk: Desk) -> None:
    desk.wait(3600)
    found = read(
        desk,
        outage(
            desk,
            desk.channel("sales"),
            ended_at=NOON + timedelta(minutes=9),
            ended_by="webhook",
            alarmed_at=NOON + timedelta(seconds=2),
            restarted_at=NOON + timedelta(seconds=30),
            restart_result="restarted",
        ),
    )

    assert (found.noticing, found.duration, found.open) == (timedelta(minutes=1), timedelta(minutes=10), False)
    assert found.action is None, "advice for what is over"
    told = found.as_json()
    assert told["began_at"] == "2026-11-22T11:59:00Z"
    assert (told["began_by"], told["noticed_by"], told["ended_by"]) == ("last_check", "status", "webhook")
    assert (told["noticed_after_s"], told["duration_s"]) == (60, 600)
    assert (told["alarmed_at"], told["restarted_at"]) == ("2026-11-22T12:00:02Z", "2026-11-22T12:00:30Z")
    assert (told["restart_result"], told["open"]) == ("restarted", False)


def test_an_open_outage_lasts_until_now_and_says_what_helps_the_channel_as_it_is_now(desk: Desk) -> None:
    sales = desk.channel("sales")
    outage_id = outage(desk, sales, state=ChannelState.MUTE, reason="")
    desk.set_channel(sales, state=ChannelState.DOWN, reason="logged_out")
    desk.wait(120)

    found = read(desk, outage_id)

    assert (found.state, found.open, found.duration) == (ChannelState.MUTE, True, timedelta(minutes=3))
    assert found.action is not None
    assert "Link it again by QR code" in found.action
    assert found.as_json()["ended_at"] is None


def test_an_estimate_that_is_later_than_the_notice_makes_no_negative_time(desk: Desk) -> None:
    found = read(desk, outage(desk, desk.channel(), began_at=NOON + timedelta(seconds=3)))
    assert (found.noticing, found.duration) == (timedelta(0), timedelta(0))


def test_the_messages_at_risk_are_counted_by_what_became_of_them(desk: Desk) -> None:
    sales, support = desk.channel("sales"), desk.channel("support")
    mine, other = outage(desk, sales), outage(desk, support)
    seqs = [desk.enqueue(sales) for _ in range(7)]
    endanger(desk, mine, seqs[0], state=S.DELIVERED)
    endanger(desk, mine, seqs[1], state=S.DELIVERED, resends=1, duplicates=2)
    endanger(desk, mine, seqs[2], state=S.READ, resends=1)
    endanger(desk, mine, seqs[3], S.SENDING, state=S.IN_DOUBT, attention="no_proof")
    endanger(desk, mine, seqs[4], state=S.ACCEPTED)
    endanger(desk, mine, seqs[5], state=S.QUEUED)
    endanger(desk, other, seqs[6], state=S.FAILED)

    counts = read(desk, mine).at_risk

    assert (counts.total, counts.ticked, counts.unresolved) == (6, 3, 2)
    assert (counts.resent, counts.duplicates, counts.attention) == (2, 2, 1)
    assert counts.as_json()["by_state"] == {"queued": 1, "accepted": 1, "in_doubt": 1, "delivered": 2, "read": 1}
    assert [found.at_risk.total for found in listed(desk)] == [1, 6]


def test_an_outage_without_messages_at_risk_counts_nothing(desk: Desk) -> None:
    counts = read(desk, outage(desk, desk.channel())).at_risk
    assert (counts.total, counts.ticked, counts.unresolved, counts.as_json()["by_state"]) == (0, 0, 0, {})


def test_each_message_at_risk_is_told_with_its_state_then_and_now_and_a_masked_number(desk: Desk) -> None:
    sales = desk.channel("sales")
    outage_id = outage(desk, sales)
    ticked, doubted, failed = (desk.enqueue(sales, to) for to in (ALICE, BOB, CAROL))
    endanger(desk, outage_id, ticked, state=S.DELIVERED, resends=1, duplicates=1)
    endanger(desk, outage_id, doubted, S.SENDING, state=S.IN_DOUBT, attention="no_proof")
    endanger(desk, outage_id, failed, state=S.FAILED)

    told = [message.as_json() for message in at_risk(desk, outage_id)]

    assert [message["id"] for message in told] == [str(desk.message(seq).id) for seq in (ticked, doubted, failed)]
    assert [(message["state_then"], message["state"], message["status"]) for message in told] == [
        ("accepted", "delivered", "delivered"),
        ("sending", "in_doubt", "pending"),
        ("accepted", "failed", "failed"),
    ]
    assert (told[0]["resends"], told[0]["duplicates"], told[0]["attention"]) == (1, 1, None)
    assert told[1]["attention"] == "no_proof"
    assert told[0]["recipient"] == "+91*******600"
    assert not any(number in str(told) for number in (ALICE, BOB, CAROL))
    assert len(at_risk(desk, outage_id, limit=2)) == 2


@pytest.mark.parametrize("moment", [NOON, NOON.replace(microsecond=123_456)])
def test_times_come_back_as_they_were_stored(desk: Desk, moment: datetime) -> None:
    assert read(desk, outage(desk, desk.channel(), noticed_at=moment)).noticed_at == moment
