"""Outages: opened once, closed once, with what was at risk; when people are told; at most one restart in each."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.outbox.desk import ALICE, BOB, CAROL, NOON, Desk
from worker.channels import outages, states
from worker.channels.outages import RESTART_PAUSE
from worker.domain.alarm import PATIENCE
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack, Connection
from worker.domain.outcomes import Cause
from worker.models import Outage, OutageMessage
from worker.outbox.events import Source

C = ChannelState


def stored(desk: Desk, channel_id: int) -> Sequence[Any]:
    return desk.read(select(Outage.__table__).where(Outage.channel_id == channel_id).order_by(Outage.id))


def only(desk: Desk, channel_id: int) -> Any:
    (outage,) = stored(desk, channel_id)
    return outage


def at_risk(desk: Desk, outage_id: int) -> dict[int, str]:
    query = select(OutageMessage.message_seq, OutageMessage.state_then).where(OutageMessage.outage_id == outage_id)
    return {row.message_seq: row.state_then.value for row in desk.read(query)}


def down(desk: Desk, channel_id: int, word: str = "need_scan") -> None:
    desk.report(channel_id, Connection.NOT_CONNECTED, word)


def up(desk: Desk, channel_id: int) -> None:
    desk.report(channel_id, Connection.CONNECTED)


def block(desk: Desk, channel_id: int) -> None:
    desk.write(lambda c: states.block(c, channel_id, Cause.NO_SUBSCRIPTION, now=desk.now))


def pause(desk: Desk, channel_id: int) -> None:
    desk.write(lambda c: states.pause(c, channel_id, now=desk.now))


def resume(desk: Desk, channel_id: int) -> None:
    desk.write(lambda c: states.resume(c, channel_id, now=desk.now))


def restarts(desk: Desk) -> list[int]:
    rows = desk.write(lambda c: outages.take_restarts(c, now=desk.now, most=10))
    return [row.channel_id for row in rows]


def test_an_outage_is_opened_once_and_closed_once_whatever_the_channel_goes_through(desk: Desk) -> None:
    channel_id = desk.channel()
    for step in (down, down, block, pause, resume, down):
        desk.wait(1)
        step(desk, channel_id)
        assert only(desk, channel_id).ended_at is None
    desk.wait(1)
    up(desk, channel_id)
    outage = only(desk, channel_id)
    assert (outage.state, outage.reason, outage.noticed_by) == (C.DOWN, "need_scan", "status")
    assert (outage.noticed_at, outage.ended_at, outage.ended_by) == (NOON + timedelta(seconds=1), desk.now, "status")
    up(desk, channel_id)
    assert only(desk, channel_id) == outage
    down(desk, channel_id)
    assert [row.ended_at is None for row in stored(desk, channel_id)] == [False, True]


def go_mute(desk: Desk, channel_id: int) -> None:
    assert desk.go_mute(channel_id)


def test_the_outage_of_a_mute_session_goes_on_while_it_says_connecting_and_connected_and_alarms_once(
    desk: Desk,
) -> None:
    channel_id = desk.channel()
    go_mute(desk, channel_id)
    told = {"alarmed_at": desk.now, "alarm_due_at": desk.now}
    desk.write(lambda c: c.execute(update(Outage).values(**told)))
    for _ in range(3):
        desk.wait(60)
        down(desk, channel_id, "connecting")
        desk.wait(60)
        up(desk, channel_id)
        assert desk.channel_row(channel_id).state is C.MUTE
        assert only(desk, channel_id).ended_at is None
    assert only(desk, channel_id).alarmed_at is not None, "people are told of it once more"


def test_a_tick_that_comes_while_a_mute_session_is_connecting_counts(desk: Desk) -> None:
    channel_id = desk.channel()
    go_mute(desk, channel_id)
    down(desk, channel_id, "connecting")
    assert not desk.write(lambda c: states.ticked(c, channel_id, now=desk.now, source=Source.WEBHOOK))
    up(desk, channel_id)
    assert desk.channel_row(channel_id).state is C.UP


@pytest.mark.parametrize(("trouble", "state"), [(down, C.DOWN), (go_mute, C.MUTE), (block, C.BLOCKED)])
def test_each_way_of_not_sending_is_an_outage(
    desk: Desk, trouble: Callable[[Desk, int], None], state: ChannelState
) -> None:
    channel_id = desk.channel()
    trouble(desk, channel_id)
    assert (only(desk, channel_id).state, only(desk, channel_id).ended_at) == (state, None)


def test_a_pause_or_a_channel_that_was_never_up_is_none(desk: Desk) -> None:
    paused, new = desk.channel("paused"), desk.channel("new", state=C.UNKNOWN)
    pause(desk, paused)
    up(desk, new)
    assert (stored(desk, paused), stored(desk, new)) == ([], [])


def test_a_mute_spell_ends_with_the_tick(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.accepted(channel_id)
    desk.wait(61)
    desk.go_mute(channel_id)
    desk.wait(5)
    desk.tick(seq, Ack.SERVER)
    outage = only(desk, channel_id)
    assert (outage.ended_at, outage.ended_by) == (desk.now, "info")


# When it began


def test_a_mute_spell_began_with_the_first_message_that_was_swallowed(desk: Desk) -> None:
    channel_id = desk.channel()
    ticked = desk.accepted(channel_id, ALICE)
    desk.wait(2)
    desk.tick(ticked, Ack.SERVER)
    desk.wait(30)
    first_swallowed_at = desk.now
    desk.accepted(channel_id, BOB)
    desk.wait(10)
    desk.accepted(channel_id, CAROL)
    desk.wait(61)
    desk.go_mute(channel_id)
    outage = only(desk, channel_id)
    assert (outage.began_at, outage.began_by) == (first_swallowed_at, "first_unticked")


def test_a_channel_went_down_after_the_last_good_sign_of_it(desk: Desk) -> None:
    channel_id = desk.channel(state=C.UNKNOWN)
    up(desk, channel_id)
    desk.wait(10)
    seq = desk.accepted(channel_id)
    desk.wait(5)
    desk.tick(seq, Ack.SERVER)
    ticked_at = desk.now
    desk.wait(25)
    down(desk, channel_id)
    outage = only(desk, channel_id)
    assert (outage.began_at, outage.began_by) == (ticked_at, "last_tick")


def test_an_answer_of_the_status_is_a_good_sign_too(desk: Desk) -> None:
    channel_id = desk.channel(state=C.UNKNOWN)
    up(desk, channel_id)
    desk.wait(30)
    down(desk, channel_id)
    assert (only(desk, channel_id).began_at, only(desk, channel_id).began_by) == (NOON, "last_check")


def test_session_logs_date_it_back_but_never_beyond_the_moment_it_was_noticed(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.wait(60)
    down(desk, channel_id)
    outage_id = only(desk, channel_id).id
    began_at = desk.now - timedelta(seconds=40)
    desk.write(lambda c: outages.date(c, outage_id, began_at))
    assert (only(desk, channel_id).began_at, only(desk, channel_id).began_by) == (began_at, "session_logs")
    desk.write(lambda c: outages.date(c, outage_id, desk.now + timedelta(seconds=1)))
    assert only(desk, channel_id).began_at == began_at


def test_session_logs_are_asked_once_for_each_time_a_channel_was_down(desk: Desk) -> None:
    def undated() -> list[int]:
        return [row.channel_id for row in desk.write(lambda c: outages.take_undated(c, now=desk.now, most=10))]

    downed, muted = desk.channel("down"), desk.channel("mute")
    down(desk, downed)
    desk.go_mute(muted)
    assert undated() == [], "the log may be written a little later than the session ends"
    desk.wait(5)
    assert undated() == [downed]
    assert undated() == []
    desk.write(lambda c: outages.date_later(c, only(desk, downed).id, at=desk.now + timedelta(seconds=10)))
    desk.wait(9)
    assert undated() == []
    desk.wait(1)
    assert undated() == [downed]
    assert undated() == []


# At risk


def test_what_was_at_wasender_or_on_its_way_is_noted_when_it_begins_and_when_it_ends(desk: Desk) -> None:
    channel_id = desk.channel()
    ticked = desk.accepted(channel_id, ALICE, gateway_msg_id=1)
    desk.tick(ticked, Ack.SERVER)
    accepted = desk.accepted(channel_id, ALICE, gateway_msg_id=2)
    flagged = desk.accepted(channel_id, ALICE, gateway_msg_id=3)
    desk.hold(flagged)
    doubted, sending, _ = (desk.enqueue(channel_id, to) for to in (BOB, CAROL, ALICE))
    desk.finish(desk.claim_one(channel_id), Cause.TIMEOUT)
    desk.claim_one(channel_id)
    before = {accepted: "accepted", doubted: "in_doubt", sending: "sending"}
    down(desk, channel_id)
    outage_id = only(desk, channel_id).id
    assert at_risk(desk, outage_id) == before
    desk.tick(accepted, Ack.SERVER)
    desk.wait(5)
    up(desk, channel_id)
    assert at_risk(desk, outage_id) == before, "each is noted once, as it was found first"


def test_what_was_in_doubt_before_it_began_is_not_its_doing(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.enqueue(channel_id, ALICE)
    desk.finish(desk.leased_claim(channel_id), Cause.TIMEOUT)
    desk.wait(30)
    up(desk, channel_id)  # WaSender said so after it, and that is the last good sign
    desk.wait(1)
    later = desk.enqueue(channel_id, BOB)
    desk.finish(desk.claim_one(channel_id), Cause.TIMEOUT)
    down(desk, channel_id)
    assert at_risk(desk, only(desk, channel_id).id) == {later: "in_doubt"}
    desk.wait(5)
    up(desk, channel_id)
    assert at_risk(desk, only(desk, channel_id).id) == {later: "in_doubt"}


def test_what_was_accepted_after_it_was_noticed_is_noted_when_it_ends(desk: Desk) -> None:
    channel_id = desk.channel()
    seq = desk.enqueue(channel_id)
    claim = desk.leased_claim(channel_id)
    probe = desk.enqueue(channel_id, BOB)
    desk.go_mute(channel_id)
    outage_id = only(desk, channel_id).id
    assert at_risk(desk, outage_id) == {seq: "sending"}
    desk.wait(10)
    desk.finish(desk.claim_one(channel_id), Cause.ACCEPTED, gateway_msg_id=2)
    desk.finish(claim, Cause.ACCEPTED, gateway_msg_id=1)
    desk.tick(seq, Ack.SERVER)
    assert at_risk(desk, outage_id) == {seq: "sending", probe: "accepted"}


def test_other_channels_are_not_concerned(desk: Desk) -> None:
    broken, well = desk.channel("broken"), desk.channel("well")
    desk.accepted(well)
    down(desk, broken)
    assert at_risk(desk, only(desk, broken).id) == {}
    assert stored(desk, well) == []


def test_a_channel_that_goes_down_has_no_row_of_its_queue_touched(desk: Desk) -> None:
    channel_id = desk.channel()
    seqs = [desk.enqueue(channel_id, to) for to in (ALICE, BOB)]
    before = [desk.message(seq) for seq in seqs]
    down(desk, channel_id)
    desk.wait(60)
    up(desk, channel_id)
    assert [desk.message(seq) for seq in seqs] == before


# Whom to tell, and when


@pytest.mark.parametrize("word", ["need_scan", "need_passkey", "logged_out", "expired", "never heard of"])
def test_people_are_told_at_once_of_what_they_have_to_mend(desk: Desk, word: str) -> None:
    channel_id = desk.channel()
    down(desk, channel_id, word)
    assert only(desk, channel_id).alarm_due_at == desk.now


@pytest.mark.parametrize("word", ["connecting", "disconnected"])
def test_what_mostly_mends_itself_is_given_time(desk: Desk, word: str) -> None:
    channel_id = desk.channel()
    down(desk, channel_id, word)
    assert only(desk, channel_id).alarm_due_at == desk.now + PATIENCE


def test_of_a_mute_or_refused_channel_people_are_told_at_once(desk: Desk) -> None:
    mute, blocked = desk.channel("mute"), desk.channel("blocked")
    desk.go_mute(mute)
    block(desk, blocked)
    assert [only(desk, channel_id).alarm_due_at for channel_id in (mute, blocked)] == [desk.now, desk.now]


def test_a_worse_word_brings_the_alarm_forward_and_a_better_one_does_not_put_it_off(desk: Desk) -> None:
    channel_id = desk.channel()
    down(desk, channel_id, "connecting")
    desk.wait(30)
    down(desk, channel_id, "disconnected")
    assert only(desk, channel_id).alarm_due_at == NOON + PATIENCE, "the time counts from the beginning"
    desk.wait(30)
    down(desk, channel_id, "need_scan")
    told_at = desk.now
    assert only(desk, channel_id).alarm_due_at == told_at
    desk.wait(30)
    down(desk, channel_id, "connecting")
    assert only(desk, channel_id).alarm_due_at == told_at


def test_a_pause_cancels_the_alarm_for_a_person_knows_and_what_is_still_wrong_after_it_is_told(desk: Desk) -> None:
    channel_id = desk.channel()
    down(desk, channel_id, "connecting")
    pause(desk, channel_id)
    assert only(desk, channel_id).alarm_due_at is None
    desk.wait(600)
    resume(desk, channel_id)
    assert only(desk, channel_id).alarm_due_at is None
    down(desk, channel_id, "need_scan")
    assert only(desk, channel_id).alarm_due_at == desk.now


# Restarts


def test_a_mute_session_is_restarted_at_once_and_once(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.go_mute(channel_id)
    assert restarts(desk) == [channel_id]
    assert restarts(desk) == []
    desk.wait(24 * 3600)
    assert restarts(desk) == []
    outage = only(desk, channel_id)
    desk.write(lambda c: outages.note_restart(c, outage.id, "restarted" * 20))
    assert (outage.restarted_at, len(only(desk, channel_id).restart_result)) == (NOON, 64)


def mute_again(desk: Desk, channel_id: int) -> None:
    """A tick has ended the last spell; the next one begins."""
    desk.tick(desk.accepted(channel_id), Ack.SERVER)
    assert desk.channel_row(channel_id).state is C.UP
    desk.go_mute(channel_id)


def test_the_next_outage_soon_after_a_restart_waits_for_its_own(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.go_mute(channel_id)
    assert restarts(desk) == [channel_id]
    desk.wait(60)
    mute_again(desk, channel_id)
    assert restarts(desk) == []
    desk.wait(RESTART_PAUSE.total_seconds() - 60 - 1)
    assert restarts(desk) == []
    desk.wait(1)
    assert restarts(desk) == [channel_id]


def test_a_restart_that_never_reached_wasender_holds_up_no_other(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.go_mute(channel_id)
    assert restarts(desk) == [channel_id]
    at = desk.now + timedelta(seconds=30)
    desk.write(lambda c: outages.restart_later(c, only(desk, channel_id).id, "gateway_error", at=at))
    desk.wait(29)
    assert restarts(desk) == []
    mute_again(desk, channel_id)
    assert restarts(desk) == [channel_id], "that of the outage before was none"


def test_a_channel_that_is_down_is_not_restarted(desk: Desk) -> None:
    """WaSender refuses to; and one that was mute has found out by itself what is wrong."""
    downed, was_mute = desk.channel("down"), desk.channel("was-mute")
    down(desk, downed)
    desk.go_mute(was_mute)
    down(desk, was_mute)
    desk.wait(3600)
    assert restarts(desk) == []


def test_a_channel_that_comes_up_before_its_restart_is_not_restarted(desk: Desk) -> None:
    channel_id = desk.channel()
    desk.go_mute(channel_id)
    desk.wait(10)
    desk.tick(desk.accepted(channel_id), Ack.SERVER)
    assert restarts(desk) == []
