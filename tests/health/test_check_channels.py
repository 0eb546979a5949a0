"""What WaSender's answer to "are you connected?" does to a channel, and how often it is asked."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.drain.scene import WIDE, Crm, drain, working
from wasender_sandbox.control import Sandbox
from worker.domain.channel_state import ChannelState
from worker.health import check_channels, check_now
from worker.models import Event, Outage
from worker.parts import Parts


def counted(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys with which the status has been asked for."""
    asked: list[str] = []
    real = parts.gateway.status

    def status(key: str) -> Any:
        asked.append(key)
        return real(key)

    monkeypatch.setattr(parts.gateway, "status", status)
    return asked


def due_again(crm: Crm, *names: str) -> None:
    for name in names or ("default",):
        crm.set_channel(name, check_due_at=crm.parts.clock())


def test_two_checks_at_once_ask_each_channel_once_an_interval(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"channel-{index}" for index in range(10)]
    crm.channels(*names, state=ChannelState.UNKNOWN)
    workers = [build(database_url) for _ in range(3)]
    asked = [counted(parts, monkeypatch) for parts in workers]
    threads = [threading.Thread(target=check_channels, args=[parts]) for parts in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    check_channels(workers[0])

    keys = [key for one in asked for key in one]
    assert len(keys) == len(set(keys)) == 11
    assert {crm.channel(name).state for name in names} == {ChannelState.UP}
    events = crm.read(select(Event.channel_id).where(Event.message_seq.is_(None), Event.after == "up"))
    assert len(events) == 11, "a change was written down twice"


@pytest.mark.parametrize(
    ("says", "state", "reason"),
    [
        ("connected", ChannelState.UP, "connected"),
        ("NEED_SCAN", ChannelState.DOWN, "need_scan"),
        ("logged_out", ChannelState.DOWN, "logged_out"),
        ("connecting", ChannelState.DOWN, "connecting"),
        ("error", ChannelState.DOWN, "error"),
    ],
)
def test_the_state_follows_wasenders_word(
    crm: Crm, parts: Parts, sandbox: Sandbox, says: str, state: ChannelState, reason: str
) -> None:
    sandbox.lie("default", says)
    assert check_channels(parts) is (state is ChannelState.UP)
    assert (crm.channel().state, crm.channel().reason) == (state, reason)
    assert crm.channel().checked_at is not None


def test_an_unknown_key_blocks_the_channel(crm: Crm, build: Callable[..., Parts], database_url: str) -> None:
    assert not check_channels(build(database_url, WASENDER_API_KEY="0b" * 32))
    assert (crm.channel().state, crm.channel().reason) == (ChannelState.BLOCKED, "bad_key")


def test_a_channel_without_a_key_is_blocked(crm: Crm, build: Callable[..., Parts], database_url: str) -> None:
    assert not check_channels(build(database_url, WASENDER_API_KEY=None))
    assert (crm.channel().state, crm.channel().reason) == (ChannelState.BLOCKED, "no_api_key")


@pytest.mark.parametrize("kind", ["reset", "html", "error"])
def test_no_answer_says_nothing_about_the_channel(crm: Crm, parts: Parts, sandbox: Sandbox, kind: str) -> None:
    check_channels(parts)
    checked_at = crm.channel().checked_at
    sandbox.fault(kind, endpoint="status")
    due_again(crm)

    assert not check_channels(parts)

    assert crm.channel().state is ChannelState.UP
    assert crm.channel().checked_at == checked_at, "an answer that never came counts as fresh"


def test_a_recovery_asks_for_a_drain_and_everything_goes_out(crm: Crm, parts: Parts, sandbox: Sandbox) -> None:
    sandbox.set_status("default", "need_scan")
    crm.enqueue(["one", "two"])
    assert check_channels(parts) is False
    drain(parts)
    assert sandbox.requests() == []
    sandbox.scan("default")
    due_again(crm)

    assert check_channels(parts) is True
    drain(parts)
    assert crm.texts() == ["one"], "a channel that has just come up sent more than a single message"
    crm.set_channel("default", unacked_window=WIDE)
    drain(parts)
    assert crm.texts() == ["one", "two"]


def test_a_question_out_of_turn_does_not_put_the_schedules_next_one_off(crm: Crm, parts: Parts) -> None:
    """Else a reconnect just after it would be learnt almost two intervals later, where no webhook tells."""
    check_channels(parts)
    asked_at = crm.channel().check_due_at - 0.8 * timedelta(seconds=parts.settings.check_interval_s)
    due_again(crm)

    check_now(parts, crm.channel().id)

    assert asked_at < crm.channel().check_due_at <= parts.clock() + timedelta(seconds=1)
    assert check_channels(parts) is False, "and it is not asked twice at once"


def test_an_answer_that_is_older_than_the_channels_latest_change_does_not_undo_it(
    crm: Crm, parts: Parts, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_id = crm.channel().id
    check_channels(parts)
    crm.set_channel("default", since=parts.clock() - timedelta(hours=1))
    due_again(crm)
    real, asked = parts.gateway.status, list[str]()

    def status(key: str) -> Any:
        asked.append(key)
        report = real(key)
        if len(asked) == 1:  # on its slow way here the session is lost, and a webhook has the channel asked about
            sandbox.set_status("default", "logged_out")
            due_again(crm)
            check_now(parts, channel_id)
        return report

    monkeypatch.setattr(parts.gateway, "status", status)

    assert not check_channels(parts)

    assert (crm.channel().state, crm.channel().reason) == (ChannelState.DOWN, "logged_out")
    (outage,) = crm.read(select(Outage.__table__))
    assert outage.ended_at is None
    assert crm.channel().check_due_at <= parts.clock(), "nobody asks anew"
    assert not check_channels(parts)
    assert len(asked) == 3
    assert crm.channel().state is ChannelState.DOWN


def test_a_channel_that_a_person_paused_is_not_asked(crm: Crm, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    crm.set_channel("default", state=ChannelState.PAUSED)
    asked = counted(parts, monkeypatch)
    assert not check_channels(parts)
    assert asked == []


def test_checks_and_runs_at_once_never_stand_in_each_others_way(
    crm: Crm, build: Callable[..., Parts], database_url: str, sandbox: Sandbox
) -> None:
    """Both lock channels; in a deadlock one of them would be thrown out."""
    names = [f"channel-{index}" for index in range(30)]
    crm.channels(*names, pace="100/1")
    for name in names:
        crm.enqueue([f"{name} {index}" for index in range(6)], channel=name)
    checker = build(database_url)
    with working(build(database_url)) as wake:
        wake()
        while len(sandbox.ledger()) < 180:
            due_again(crm, *names[::-3])
            check_channels(checker)
    assert len(crm.texts()) == len(set(crm.texts())) == 180
