"""Delivery rates: what became of the messages accepted lately, at a bounded cost."""

from datetime import timedelta

import pytest

from tests.outbox.desk import ALICE, BOB, Desk
from worker.domain.evidence import Ack
from worker.outbox import rates
from worker.outbox.rates import Rates


def of(desk: Desk, channel_id: int) -> tuple[Rates, Rates]:
    found: dict[int, tuple[Rates, Rates]] = desk.write(lambda c: rates.rates(c, [channel_id], now=desk.now))
    return found[channel_id]


def test_a_channel_that_sent_nothing_has_no_rates(desk: Desk) -> None:
    hour, day = of(desk, desk.channel())

    assert (hour.accepted, hour.failed, hour.per_minute, hour.tick_median_s) == (0, 0, 0, None)
    assert not day.partial


def test_messages_count_in_the_window_in_which_they_were_accepted(desk: Desk) -> None:
    channel = desk.channel()
    old = desk.accepted(channel, ALICE, gateway_msg_id=1)
    desk.tick(old, Ack.SERVER)
    desk.wait(2 * 3600)
    ticked = [desk.accepted(channel, f"+91703300970{index}", gateway_msg_id=10 + index) for index in range(4)]
    desk.accepted(channel, BOB, gateway_msg_id=20)
    for seconds, seq in zip((2, 1, 1, 6), ticked, strict=True):
        desk.wait(seconds)
        desk.tick(seq, Ack.DEVICE if seq == ticked[0] else Ack.SERVER)

    hour, day = of(desk, channel)

    assert (hour.accepted, hour.sent, hour.delivered) == (5, 4, 1)
    assert (day.accepted, day.sent) == (6, 5)
    assert (hour.tick_median_s, hour.tick_p95_s) == (3.0, 10.0)
    assert hour.per_minute == round(5 / 60, 2)


def test_failures_count_when_they_happen(desk: Desk) -> None:
    channel, other = desk.channel(), desk.channel("other")
    seq = desk.accepted(channel, ALICE)
    desk.wait(5 * 3600)
    desk.tick(seq, Ack.ERROR)

    hour, day = of(desk, channel)

    assert (hour.accepted, hour.failed) == (0, 1)
    assert (day.accepted, day.failed) == (1, 1)
    assert of(desk, other)[1].failed == 0


def test_more_than_are_counted_are_spoken_for_by_the_newest(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST", 3)
    channel = desk.channel()
    for index in range(5):
        desk.accepted(channel, f"+91703300970{index}", gateway_msg_id=10 + index)
        desk.wait(10)

    hour, _ = of(desk, channel)

    assert (hour.accepted, hour.partial) == (3, True)
    assert hour.per_minute == pytest.approx(3 / 0.5, rel=0.01), "three within the last thirty seconds"
    assert hour.window == timedelta(hours=1)
