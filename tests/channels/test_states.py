"""A channel's state changes by news alone, each change is an event, and a person's word stands."""

from datetime import timedelta

import pytest

from tests.outbox.desk import Desk
from worker.channels import states
from worker.channels.checks import take_due_checks
from worker.domain.channel_state import BLOCK_RETRY_AFTER, ChannelState
from worker.domain.errors import Conflict
from worker.domain.evidence import Connection, ConnectionReport
from worker.domain.outcomes import Cause
from worker.outbox.events import Source

C = ChannelState


def report(desk: Desk, channel_id: int, connection: Connection, word: str = "") -> ChannelState | None:
    said = ConnectionReport(connection=connection, word=word or connection.value)
    verdict = desk.write(lambda c: states.apply_report(c, channel_id, said, now=desk.now, source=Source.STATUS))
    return verdict and verdict.state


def pause(desk: Desk, channel_id: int) -> None:
    desk.write(lambda c: states.pause(c, channel_id, now=desk.now))


def resume(desk: Desk, channel_id: int) -> None:
    desk.write(lambda c: states.resume(c, channel_id, now=desk.now))


def block(desk: Desk, channel_id: int, reason: str) -> None:
    desk.write(lambda c: states.block(c, channel_id, reason, now=desk.now))


def test_each_change_is_one_event_and_no_news_is_none(desk: Desk) -> None:
    channel_id = desk.channel(state=C.UNKNOWN)
    said = [
        (Connection.CONNECTED, "connected", C.UP),
        (Connection.CONNECTED, "connected", None),
        (Connection.UNVERIFIED, "gateway_error", None),
        (Connection.NOT_CONNECTED, "need_scan", C.DOWN),
        (Connection.NOT_CONNECTED, "need_scan", None),
        (Connection.NOT_CONNECTED, "logged_out", C.DOWN),
        (Connection.REFUSED, Cause.BAD_KEY, C.BLOCKED),
        (Connection.REFUSED, Cause.BAD_KEY, None),
        (Connection.CONNECTED, "connected", C.UP),
    ]
    for connection, word, expected in said:
        desk.wait(1)
        assert report(desk, channel_id, connection, word) is expected
    assert desk.channel_events(channel_id)[1:] == [
        ("unknown", "up", "status"),
        ("up", "down", "status"),
        ("down", "down", "status"),
        ("down", "blocked", "status"),
        ("blocked", "up", "status"),
    ]


def test_since_tells_when_the_state_began_and_checked_at_when_wasender_last_answered(desk: Desk) -> None:
    channel_id = desk.channel(state=C.UNKNOWN)
    desk.wait(1)
    report(desk, channel_id, Connection.NOT_CONNECTED, "need_scan")
    began = desk.now
    desk.wait(1)
    report(desk, channel_id, Connection.NOT_CONNECTED, "logged_out")
    answered = desk.now
    desk.wait(1)
    report(desk, channel_id, Connection.UNVERIFIED)
    row = desk.channel_row(channel_id)
    assert (row.since, row.checked_at, row.reason) == (began, answered, "logged_out")


def test_a_channel_that_comes_up_starts_without_failures(desk: Desk) -> None:
    channel_id = desk.channel(state=C.DOWN)
    desk.set_channel(channel_id, failures=9)
    report(desk, channel_id, Connection.CONNECTED)
    assert desk.channel_row(channel_id).failures == 0


def test_a_pause_outlasts_every_answer_until_a_person_lifts_it(desk: Desk) -> None:
    channel_id = desk.channel()
    pause(desk, channel_id)
    pause(desk, channel_id)
    for connection in Connection:
        desk.wait(1)
        assert report(desk, channel_id, connection) is None
    block(desk, channel_id, Cause.BAD_KEY)
    assert desk.channel_row(channel_id).state is C.PAUSED
    resume(desk, channel_id)
    row = desk.channel_row(channel_id)
    assert (row.state, row.check_due_at) == (C.UNKNOWN, desk.now)
    moves = [("up", "paused", "operator"), ("paused", "unknown", "operator")]
    assert desk.channel_events(channel_id)[1:] == moves


@pytest.mark.parametrize("state", C)
def test_a_person_resumes_what_was_stopped_and_nothing_else(desk: Desk, state: ChannelState) -> None:
    channel_id = desk.channel(state=state)
    if state in {C.PAUSED, C.BLOCKED}:
        resume(desk, channel_id)
        assert desk.channel_row(channel_id).state is C.UNKNOWN
    else:
        with pytest.raises(Conflict):
            resume(desk, channel_id)
        assert desk.channel_row(channel_id).state is state


@pytest.mark.parametrize("state", C)
def test_a_refused_send_blocks_a_channel_that_sends(desk: Desk, state: ChannelState) -> None:
    channel_id = desk.channel(state=state)
    block(desk, channel_id, Cause.NO_SUBSCRIPTION)
    sends = state in {C.UP, C.MUTE}
    assert desk.channel_row(channel_id).state is (C.BLOCKED if sends else state)
    expected = [(state.value, "blocked", "worker")] if sends else []
    assert desk.channel_events(channel_id)[1:] == expected


def test_a_block_that_the_status_does_not_show_is_tried_again_after_a_while(desk: Desk) -> None:
    channel_id = desk.channel()
    block(desk, channel_id, Cause.NO_SUBSCRIPTION)
    desk.wait(BLOCK_RETRY_AFTER.total_seconds() - 1)
    assert report(desk, channel_id, Connection.CONNECTED) is None
    desk.wait(1)
    assert report(desk, channel_id, Connection.CONNECTED) is C.UP
    block(desk, channel_id, Cause.NO_SUBSCRIPTION)
    assert report(desk, channel_id, Connection.CONNECTED) is None, "the wait begins anew"


def test_each_channel_is_asked_about_once_in_an_interval_unless_it_is_paused(desk: Desk) -> None:
    def due() -> list[str]:
        again = desk.now + timedelta(seconds=30)
        rows = desk.write(lambda c: take_due_checks(c, now=desk.now, again_at=again, most=10))
        return [row.name for row in rows]

    desk.channel("first")
    desk.wait(1)
    desk.channel("second", state=C.DOWN)
    desk.channel("quiet", state=C.PAUSED)
    assert due() == ["first", "second"]
    assert due() == []
    desk.wait(30)
    assert sorted(due()) == ["first", "second"]
