"""A channel of a pool is out: what may go out on another one does so, once, in order, at that one's pace."""

from collections import Counter, defaultdict
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import event, select

from tests.drain.scene import number, working
from tests.real_servers import wait_until
from tests.truth.stage import Stage
from worker.database import snapshot
from worker.domain.channel_state import ChannelState
from worker.models import Channel, Event, Message
from worker.outbox.reading import event_log
from worker.sweep import sweep

DOWN, UP, PAUSED, MUTE, BLOCKED = (
    *(ChannelState.DOWN, ChannelState.UP, ChannelState.PAUSED, ChannelState.MUTE),
    ChannelState.BLOCKED,
)
FAR_OVER = 121


@pytest.fixture
def two(stage: Stage) -> Stage:
    """North and south are one pool and up."""
    return pooled(stage, "north", "south")


def pooled(stage: Stage, *names: str, **options: Any) -> Stage:
    stage.crm.channels(*names, **options)
    for name in names:
        stage.crm.set_channel(name, pool="main")
    return stage


def out(stage: Stage, name: str, state: ChannelState = DOWN, *, for_s: float = FAR_OVER) -> None:
    """On both sides, since a while."""
    stage.sandbox.set_status(name, "need_scan", quiet=True)
    since = stage.parts.clock() - timedelta(seconds=for_s)
    stage.crm.set_channel(name, state=state, since=since, reason="need_scan")


def ids(stage: Stage) -> dict[str, int]:
    return {row.name: row.id for row in stage.crm.read(select(Channel.name, Channel.id))}


def whereabouts(stage: Stage) -> list[str]:
    """The channels of the messages, in order of arrival."""
    query = select(Channel.name).join(Message, Message.channel_id == Channel.id).order_by(Message.seq)
    return [row.name for row in stage.crm.read(query)]


def sent_to(stage: Stage) -> dict[str, list[tuple[str, str]]]:
    """What each recipient got: channel and text, in order."""
    got: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for entry in stage.sandbox.ledger():
        got[entry.recipient].append((entry.channel, entry.text or ""))
    return got


def test_what_may_goes_out_on_the_other_channel_and_the_rest_waits(two: Stage) -> None:
    two.crm.enqueue(["may"], to=lambda _: number(1), channel="north", failover=True)
    two.crm.enqueue(["may not"], to=lambda _: number(2), channel="north")
    out(two, "north")

    sweep(two.parts)
    two.send()

    assert sent_to(two) == {number(1): [("south", "may")]}
    assert whereabouts(two) == ["south", "north"]
    (moved,) = two.crm.read(select(Event.__table__).where(Event.reason == "failed_over"))
    assert (moved.before, moved.after, moved.source) == ("queued", "queued", "worker")
    assert moved.evidence == {"from": "north", "to": "south"}
    assert (moved.channel_id, moved.status) == (ids(two)["south"], None)
    with snapshot(two.parts.engine) as connection:
        assert [entry["reason"] for entry in event_log(connection, moved.message_seq).newest][1] == "failed_over"


@pytest.mark.parametrize("state", [DOWN, MUTE, BLOCKED, PAUSED])
def test_it_takes_some_patience_in_each_state_that_does_not_send(two: Stage, state: ChannelState) -> None:
    two.crm.enqueue(["one"], channel="north", failover=True)
    out(two, "north", state, for_s=100)
    sweep(two.parts)
    assert whereabouts(two) == ["north"]

    two.pass_time(21)
    sweep(two.parts)
    assert whereabouts(two) == ["south"]


@pytest.mark.parametrize("state", [ChannelState.UNKNOWN, UP])
def test_a_channel_that_may_send_any_moment_keeps_its_messages(two: Stage, state: ChannelState) -> None:
    two.crm.enqueue(["one"], channel="north", failover=True)
    out(two, "north", state, for_s=3600)
    sweep(two.parts)
    assert whereabouts(two) == ["north"]


def test_nobody_takes_over_who_is_not_up_or_not_of_the_pool(two: Stage) -> None:
    two.crm.enqueue(["one"], channel="north", failover=True)
    out(two, "north")
    for state in (DOWN, MUTE, ChannelState.UNKNOWN, PAUSED, BLOCKED):
        two.crm.set_channel("south", state=state)
        sweep(two.parts)
    two.crm.set_channel("south", state=UP, pool="another")
    sweep(two.parts)
    two.crm.set_channel("south", pool=None)
    two.crm.set_channel("north", pool=None)
    sweep(two.parts)
    assert whereabouts(two) == ["north"]


def test_all_that_is_queued_for_a_recipient_moves_together_or_not_at_all(two: Stage) -> None:
    later = (two.parts.clock() + timedelta(hours=1)).isoformat()
    two.crm.enqueue(["a1", "a2"], to=lambda _: number(1), channel="north", failover=True)
    two.crm.enqueue(["a3"], to=lambda _: number(1), channel="north", failover=True, send_after=later)
    two.crm.enqueue(["b1"], to=lambda _: number(2), channel="north", failover=True)
    two.crm.enqueue(["b2"], to=lambda _: number(2), channel="north")
    two.crm.enqueue(["c1"], to=lambda _: number(3), channel="north", failover=True, send_after=later)
    out(two, "north")

    sweep(two.parts)
    two.send()

    assert whereabouts(two) == ["south"] * 3 + ["north"] * 3
    assert sent_to(two) == {number(1): [("south", "a1"), ("south", "a2")]}


@pytest.mark.parametrize("state", ["sending", "accepted", "in_doubt"])
def test_nothing_moves_past_an_earlier_message_whose_fate_is_open(two: Stage, state: str) -> None:
    two.crm.enqueue(["first", "second"], to=lambda _: number(1), channel="north", failover=True)
    first = two.crm.messages()[0].seq
    two.crm.set_message(first, state=state, attempts=1, accepted_at=two.parts.clock(), gateway_msg_id=1)
    out(two, "north")

    sweep(two.parts)
    assert whereabouts(two) == ["north", "north"]

    two.crm.set_message(first, state="delivered")
    sweep(two.parts)
    assert whereabouts(two) == ["north", "south"]


def test_a_message_that_was_attempted_or_in_doubt_stays_and_so_does_what_is_behind_it(two: Stage) -> None:
    for index, tried in enumerate(({"attempts": 1}, {"doubts": 1})):
        two.crm.enqueue(["first", "second"], to=lambda _, index=index: number(index), channel="north", failover=True)
        two.crm.set_message(two.crm.messages()[-2].seq, **tried)
    out(two, "north")
    sweep(two.parts)
    assert whereabouts(two) == ["north"] * 4


def test_a_recipient_follows_and_stays_although_the_channel_is_back(two: Stage) -> None:
    two.crm.enqueue(["one"], to=lambda _: number(1), channel="north", failover=True)
    out(two, "north")
    sweep(two.parts)
    two.send()
    two.sandbox.scan("north")
    two.crm.set_channel("north", state=UP)

    two.crm.enqueue(["two"], to=lambda _: number(1), pool="main")
    two.send()

    assert sent_to(two) == {number(1): [("south", "one"), ("south", "two")]}


def test_what_is_stored_for_the_channel_later_follows_to_the_same_one(stage: Stage) -> None:
    pooled(stage, "north", "south", "west")
    stage.crm.enqueue(["one"], to=lambda _: number(1), channel="north", failover=True)
    out(stage, "north")
    sweep(stage.parts)
    taken_by = whereabouts(stage)[0]
    busy = ["x"] * 20
    stage.crm.enqueue(busy, to=lambda index: number(100 + index), channel=taken_by)

    stage.crm.enqueue(["two"], to=lambda _: number(1), channel="north", failover=True)
    sweep(stage.parts)

    assert whereabouts(stage)[-1] == taken_by


def test_nobody_goes_past_what_waits_on_a_third_channel_that_is_out(stage: Stage) -> None:
    pooled(stage, "north", "south", "west")
    stage.crm.enqueue(["earlier"], to=lambda _: number(1), channel="west")
    stage.crm.enqueue(["later"], to=lambda _: number(1), channel="north", failover=True)
    for name in ("north", "west"):
        out(stage, name)
    sweep(stage.parts)
    assert whereabouts(stage) == ["west", "north"]

    stage.crm.set_message(stage.crm.messages()[0].seq, failover=True)
    for _ in range(2):
        sweep(stage.parts)
    assert whereabouts(stage) == ["south", "south"]


def test_the_urgent_ones_move_first_and_a_large_queue_is_shared_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sweep.FAILOVER_BATCH", 20)
    monkeypatch.setattr("worker.sweep.FAILOVER_BATCHES", 3)
    pooled(stage, "north", "south", "west")
    stage.crm.enqueue(["bulk"] * 100, channel="north", failover=True, priority="bulk")
    stage.crm.enqueue(["code"] * 20, to=lambda index: number(500 + index), channel="north", failover=True)
    out(stage, "north")

    sweep(stage.parts)

    assert Counter(whereabouts(stage)[100:])["north"] == 0, "a code waits behind a campaign"
    assert Counter(whereabouts(stage)) == {"north": 60, "south": 30, "west": 30}
    for _ in range(3):
        sweep(stage.parts)
    assert Counter(whereabouts(stage))["north"] == 0


def test_many_who_are_bound_hold_up_nobody_behind_them(two: Stage) -> None:
    for index in range(30):
        texts, allowed = ["one", "two"], index >= 29
        two.crm.enqueue(texts[:1], to=lambda _, index=index: number(index), channel="north", failover=True)
        two.crm.enqueue(texts[1:], to=lambda _, index=index: number(index), channel="north", failover=allowed)
    out(two, "north")
    sweep(two.parts)
    assert whereabouts(two) == ["north"] * 58 + ["south"] * 2


def test_where_nothing_may_move_nothing_is_written_and_one_question_is_asked(two: Stage) -> None:
    two.crm.enqueue(["parked"] * 50, channel="north")
    out(two, "north")
    sweep(two.parts)
    before = two.crm.messages()
    statements: list[str] = []
    event.listen(two.parts.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))

    sweep(two.parts)

    about_messages = [sql for sql in statements if "failover" in sql]
    assert len(about_messages) == 1
    assert about_messages[0].startswith("SELECT channels.id")
    assert two.crm.messages() == before


def only_the_bound_wait(stage: Stage) -> bool:
    """Ask WaSender about what it took, and tell whether nothing waits but for those with an open fate on north."""
    stage.ask()
    rows = stage.crm.messages()
    bound = {row.recipient for row in rows if row.state in {"sending", "accepted", "in_doubt"}}
    return {row.recipient for row in rows if row.state == "queued"} <= bound


def all_arrived(stage: Stage) -> bool:
    stage.check()
    stage.ask()
    return set(stage.crm.states()) <= {"sent", "delivered"}


def test_an_outage_amid_a_campaign_loses_nothing_doubles_nothing_and_keeps_order_and_pace(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by what WhatsApp got: 120 messages to 30 people through two channels of which one is lost half-way."""
    stage.parts.settings.failover_after_s = 0.2
    stage.parts.settings.sweep_interval_s = 0.05
    stage.parts.settings.check_interval_s = 0.1
    monkeypatch.setattr("worker.outbox.claims.FIRST_CHECK_AFTER", timedelta(milliseconds=1))
    pooled(stage, "north", "south", pace="100/1", limit="100/1", limit_mode="sliding")
    stage.crm.enqueue(
        [f"{index // 30}" for index in range(120)], to=lambda index: number(index % 30), pool="main", failover=True
    )
    assert set(whereabouts(stage)) == {"north", "south"}

    with working(stage.parts, sweeping=True) as wake:
        wake()
        wait_until(lambda: len(stage.sandbox.ledger(channel="north")) >= 10, within_s=10, what="some messages")
        stage.sandbox.set_status("north", "logged_out")
        wait_until(lambda: only_the_bound_wait(stage), within_s=20, what="failover")
        carried = len(stage.sandbox.ledger(channel="south"))
        stage.sandbox.scan("north")
        wait_until(lambda: all_arrived(stage), within_s=20, what="the end of the campaign")

    got = sent_to(stage)
    assert Counter(text for messages in got.values() for _, text in messages) == dict.fromkeys("0123", 30)
    for messages in got.values():
        assert [text for _, text in messages] == ["0", "1", "2", "3"]
        assert sum(one[0] != other[0] for one, other in pairwise(messages)) <= 1, "back and forth"
    assert any(len({channel for channel, _ in messages}) == 2 for messages in got.values())
    assert carried > 60, "south took nothing over"
    assert stage.sandbox.rate_violations() == 0
