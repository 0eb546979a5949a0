"""Alarms reach people once: through real receivers that take them, refuse them, hang or are not there."""

import dataclasses
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import Row, insert, select, update

from tests.health.receiver import SECRET, Receiver
from tests.real_servers import wait_until
from worker import alarms
from worker.alarms import sound_alarms
from worker.channels import alarm_claims, registry
from worker.channels.alarm_claims import REPEAT_AFTER, STALE_AFTER
from worker.channels.registry import NewChannel
from worker.courier import Courier
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace
from worker.logs import configure_logging
from worker.models import Channel, Message, Outage, OutageMessage
from worker.outbox.enqueue import Defaults, enqueue
from worker.outbox.events import Source
from worker.parts import Parts

TEXT = "the text of a message"
NUMBER = "7033009600"


class Desk:
    """Channels with outages, at a time of the test's own choosing, on the parts of one process."""

    def __init__(self, parts: Parts) -> None:
        self.engine = parts.engine
        self.now = parts.clock()
        self.parts = self.process(parts)

    def process(self, parts: Parts, **replaced: Any) -> Parts:
        """The parts of a process that goes by this desk's time."""
        return dataclasses.replace(parts, clock=lambda: self.now, **replaced)

    def wait(self, duration: timedelta) -> None:
        self.now += duration

    def outage(self, name: str = "sales", reason: str = "need_scan", **values: Any) -> int:
        """The channel is down, and people are to be told at once."""
        down = {"state": ChannelState.DOWN, "reason": reason}
        with transaction(self.engine) as connection:
            known = connection.execute(select(Channel.id).where(Channel.name == name)).scalar_one_or_none()
            channel_id = known or registry.add(connection, NewChannel(name=name, pace=Pace(1, 5)), self.now)
            connection.execute(update(Channel).where(Channel.id == channel_id).values(down))
            noticed = {"noticed_at": self.now, "noticed_by": "status", "began_by": "last_check"}
            began = {"began_at": self.now - timedelta(minutes=4), "alarm_due_at": self.now}
            made = insert(Outage).values({"channel_id": channel_id} | down | noticed | began | values)
            found: int = connection.execute(made.returning(Outage.id)).scalar_one()
        return found

    def message(self, outage_id: int, *, at_risk: bool) -> None:
        with transaction(self.engine) as connection:
            outage = connection.execute(select(Outage.__table__).where(Outage.id == outage_id)).one()
            stored = enqueue(
                connection,
                parse_request({"to": NUMBER, "text": TEXT}),
                channel_id=outage.channel_id,
                message_id=uuid4(),
                defaults=Defaults(region="IN", on_doubt="hold"),
                now=self.now,
                source=Source.API,
            )
            if at_risk:
                mine = Message.id == stored.message_id
                connection.execute(update(Message).where(mine).values(state=MessageState.ACCEPTED))
                seq = connection.execute(select(Message.seq).where(mine)).scalar_one()
                risk = {"outage_id": outage_id, "message_seq": seq, "state_then": MessageState.ACCEPTED}
                connection.execute(insert(OutageMessage).values(risk))

    def ends(self, outage_id: int, after: timedelta = timedelta(minutes=1)) -> None:
        """The channel is up again after this time."""
        self.wait(after)
        ended = update(Outage).where(Outage.id == outage_id).values(ended_at=self.now, ended_by="status")
        with transaction(self.engine) as connection:
            connection.execute(ended)
            connection.execute(update(Channel).values(state=ChannelState.UP, reason=""))

    def row(self, outage_id: int) -> Row[Any]:
        with snapshot(self.engine) as connection:
            return connection.execute(select(Outage.__table__).where(Outage.id == outage_id)).one()

    def alarmed(self, *outage_ids: int) -> Sequence[datetime | None]:
        return [self.row(outage_id).alarmed_at for outage_id in outage_ids]

    def until_told(self, *outage_ids: int) -> None:
        wait_until(lambda: all(self.alarmed(*outage_ids)), within_s=15, what="the alarm")
        self.until_idle()

    def until_idle(self) -> None:
        wait_until(lambda: not self.parts.courier.busy, within_s=15, what="the courier's return")


@pytest.fixture
def receivers() -> Iterator[Callable[[], Receiver]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Receiver())


@pytest.fixture
def receiver(receivers: Callable[[], Receiver]) -> Receiver:
    return receivers()


@pytest.fixture
def desk_at(build: Callable[..., Parts], database_url: str) -> Callable[..., Desk]:
    """A desk whose alarms go to these addresses, each of which may take half a second."""

    def make(*urls: str, within_s: float = 0.5) -> Desk:
        desk = Desk(build(database_url, TRUETICK_ALERT_URLS=",".join(urls)))
        courier = Courier(desk.parts.settings.alert_urls, within_s=within_s)
        desk.parts = dataclasses.replace(desk.parts, courier=courier)
        return desk

    return make


@pytest.fixture
def desk(desk_at: Callable[..., Desk], receiver: Receiver) -> Desk:
    return desk_at(receiver.url, within_s=10)


@pytest.fixture
def log_lines(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Everything that any library logs, down to DEBUG, as a worker writes it."""
    root, written = logging.getLogger(), StringIO()
    before = (root.handlers[:], root.level)
    monkeypatch.setattr("sys.stderr", written)
    configure_logging(desk.parts.settings.model_copy(update={"log_level": "DEBUG", "log_format": "json"}))
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def told_of(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_an_alarm_says_what_happened_what_waits_what_is_at_risk_and_what_to_do(
    desk: Desk, receiver: Receiver
) -> None:
    outage_id = desk.outage()
    desk.message(outage_id, at_risk=False)
    desk.message(outage_id, at_risk=True)
    desk.message(outage_id, at_risk=True)

    assert sound_alarms(desk.parts) == 1
    desk.until_told(outage_id)

    (notice,) = receiver.got
    assert notice["title"] == "Channel sales: messages do not go out (down (need_scan))"
    assert notice["type"] == "failure"
    for part in (
        "Channel sales is down (need_scan). It began at about",
        "(4 min ago)",
        "3 messages wait.",
        "2 messages are at risk: WaSender may have them",
        "What to do: Scan the QR code",
    ):
        assert part in notice["message"]
    assert NUMBER not in str(notice)
    assert TEXT not in str(notice)


def test_people_are_told_once_and_once_more_when_it_is_over(desk: Desk, receiver: Receiver) -> None:
    outage_id = desk.outage()
    desk.message(outage_id, at_risk=True)
    assert sound_alarms(desk.parts) == 1
    desk.until_told(outage_id)
    desk.wait(REPEAT_AFTER * 3)
    assert sound_alarms(desk.parts) == 0, "an alarm that was told is told again"

    desk.ends(outage_id)
    assert sound_alarms(desk.parts) == 1
    wait_until(lambda: desk.row(outage_id).alarm_due_at is None, within_s=15, what="the all-clear")
    desk.until_idle()

    desk.wait(REPEAT_AFTER * 3)
    assert sound_alarms(desk.parts) == 0
    _, clear = receiver.got
    assert (clear["title"], clear["type"]) == ("Channel sales: the outage is over", "success")
    assert "(8 min)" in clear["message"]
    assert f"1 message was at risk; what became of them: truetick outages {outage_id}" in clear["message"]


def test_what_is_over_before_anybody_was_told_is_told_to_nobody(desk: Desk, receiver: Receiver) -> None:
    outage_id = desk.outage(reason="connecting", alarm_due_at=desk.now + timedelta(minutes=3))
    assert sound_alarms(desk.parts) == 0
    desk.ends(outage_id, after=timedelta(minutes=2))
    for _ in range(3):
        desk.wait(timedelta(minutes=2))
        assert sound_alarms(desk.parts) == 0
    assert (receiver.got, desk.row(outage_id).alarm_due_at) == ([], None)


def test_an_alarm_waits_until_it_is_due(desk: Desk, receiver: Receiver) -> None:
    outage_id = desk.outage(reason="connecting", alarm_due_at=desk.now + timedelta(minutes=3))
    desk.wait(timedelta(seconds=179))
    assert sound_alarms(desk.parts) == 0
    desk.wait(timedelta(seconds=1))
    assert sound_alarms(desk.parts) == 1
    desk.until_told(outage_id)
    assert len(receiver.got) == 1


def test_without_addresses_the_log_alone_tells(
    desk_at: Callable[..., Desk], log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    desk = desk_at()
    outage_id = desk.outage()

    assert sound_alarms(desk.parts) == 1
    assert desk.alarmed(outage_id) == [desk.now]
    desk.ends(outage_id)
    assert sound_alarms(desk.parts) == 1
    assert desk.row(outage_id).alarm_due_at is None

    (alarm,) = told_of(log_lines(), "channel_alarm")
    assert (alarm["level"], alarm["channel"], alarm["state"], alarm["reason"]) == (
        "error",
        "sales",
        "down",
        "need_scan",
    )
    assert alarm["since"] == desk.row(outage_id).began_at.isoformat()
    assert "Scan the QR code" in alarm["advice"]
    assert len(told_of(log_lines(), "channel_alarm_over")) == 1


@pytest.mark.parametrize("status", [500, 404, 302])
def test_what_a_receiver_refuses_is_told_again_after_a_minute_and_not_before(
    desk: Desk, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    outage_id = desk.outage()
    assert sound_alarms(desk.parts) == 1
    desk.until_idle()
    assert (len(receiver.got), desk.alarmed(outage_id)) == (1, [None])

    receiver.status = 200
    desk.wait(REPEAT_AFTER - timedelta(seconds=1))
    assert sound_alarms(desk.parts) == 0
    desk.wait(timedelta(seconds=1))
    assert sound_alarms(desk.parts) == 1
    desk.until_told(outage_id)
    assert len(receiver.got) == 2


def test_an_all_clear_is_repeated_until_it_is_taken_but_not_for_ever(desk: Desk, receiver: Receiver) -> None:
    outage_id = desk.outage(alarmed_at=desk.now)
    receiver.status = 500
    desk.ends(outage_id)
    for _ in range(2):
        assert sound_alarms(desk.parts) == 1
        desk.until_idle()
        desk.wait(REPEAT_AFTER)
    assert len(receiver.got) == 2

    desk.wait(STALE_AFTER)

    assert sound_alarms(desk.parts) == 0
    assert (len(receiver.got), desk.row(outage_id).alarm_due_at) == (2, None)


def test_one_address_that_takes_it_is_enough_whatever_the_others_do(
    desk_at: Callable[..., Desk], receivers: Callable[[], Receiver], free_port: int
) -> None:
    broken, trickling, good = receivers(), receivers(), receivers()
    broken.status = 500
    trickling.trickling = True
    trickling.gate.clear()
    desk = desk_at(f"json://127.0.0.1:{free_port}", "nonsense://", broken.url, trickling.url, good.url)
    outage_id = desk.outage()

    assert sound_alarms(desk.parts) == 1
    desk.until_told(outage_id)

    desk.wait(REPEAT_AFTER)
    assert sound_alarms(desk.parts) == 0
    assert [len(place.got) for place in (broken, trickling, good)] == [1, 1, 1]


def test_a_receiver_that_never_ends_its_answer_holds_nobody_up(
    desk_at: Callable[..., Desk], receiver: Receiver
) -> None:
    receiver.trickling = True
    receiver.gate.clear()
    desk = desk_at(receiver.url)
    first = desk.outage("sales")

    assert sound_alarms(desk.parts) == 1, "the sweep waits for the receiver"
    wait_until(lambda: receiver.got, within_s=10, what="the notice")
    second = desk.outage("support")
    assert desk.parts.courier.busy
    assert sound_alarms(desk.parts) == 0, "the second is claimed while nobody can carry it"
    desk.until_idle()
    for _ in range(3):
        desk.wait(REPEAT_AFTER)
        assert sound_alarms(desk.parts) == 2
        desk.until_idle()
    assert len(receiver.got) == 1, "an address that hangs is visited by more than one thread"
    assert sum(thread.name == "courier-1" for thread in threading.enumerate()) == 1

    receiver.trickling = False
    receiver.gate.set()
    wait_until(
        lambda: not any(thread.name == "courier-1" for thread in threading.enumerate()), within_s=10, what="its end"
    )
    desk.wait(REPEAT_AFTER)
    assert sound_alarms(desk.parts) == 2
    desk.until_told(first, second)


def test_of_many_sweeps_at_once_one_tells(
    desk: Desk, receiver: Receiver, build: Callable[..., Parts], database_url: str
) -> None:
    outage_ids = [desk.outage(f"channel-{index}") for index in range(5)]
    others = [desk.process(build(database_url, TRUETICK_ALERT_URLS=receiver.url)) for _ in range(3)]
    processes = [desk.parts, *others]
    ready, taken = threading.Barrier(len(processes)), []

    def sweep(parts: Parts) -> None:
        ready.wait(10)
        taken.append(sound_alarms(parts))

    threads = [threading.Thread(target=sweep, args=[parts]) for parts in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    desk.until_told(*outage_ids)
    assert (len(taken), sum(taken)) == (4, 5)
    wait_until(lambda: not any(parts.courier.busy for parts in others), within_s=10, what="the couriers' return")
    told = "\n".join(notice["message"] for notice in receiver.got)
    assert [told.count(f"Channel channel-{index} ") for index in range(5)] == [1] * 5


def test_what_one_sweep_is_about_to_claim_no_other_claims(
    desk: Desk, build: Callable[..., Parts], database_url: str
) -> None:
    desk.outage()
    other, theirs = build(database_url), []

    def take() -> None:
        with transaction(other.engine) as connection:
            theirs.append(alarm_claims.take_due(connection, now=desk.now, most=10))

    meanwhile = threading.Thread(target=take)
    with transaction(desk.engine) as connection:
        ours = alarm_claims.take_due(connection, now=desk.now, most=10)
        meanwhile.start()
        # PostgreSQL passes the claimed row by; SQLite lets nobody else write until this is committed.
        meanwhile.join(0.5)
    meanwhile.join(20)

    assert (len(ours), theirs) == (1, [[]])


def test_what_a_process_was_telling_when_it_was_lost_is_told_by_another(desk: Desk, receiver: Receiver) -> None:
    outage_id = desk.outage()
    with transaction(desk.engine) as connection:
        assert len(alarm_claims.take_due(connection, now=desk.now, most=10)) == 1  # and is never seen again
    assert sound_alarms(desk.parts) == 0

    desk.wait(REPEAT_AFTER)

    assert sound_alarms(desk.parts) == 1
    desk.until_told(outage_id)
    assert len(receiver.got) == 1


def test_an_outage_that_ends_while_people_are_being_told_gets_its_all_clear(desk: Desk, receiver: Receiver) -> None:
    receiver.gate.clear()
    outage_id = desk.outage()
    assert sound_alarms(desk.parts) == 1
    wait_until(lambda: receiver.got, within_s=10, what="the notice")
    desk.ends(outage_id, after=timedelta(seconds=2))
    with transaction(desk.engine) as connection:
        assert alarm_claims.take_due(connection, now=desk.now, most=10) == [], "another sweep tells the same"

    receiver.gate.set()
    desk.until_told(outage_id)
    assert sound_alarms(desk.parts) == 1

    wait_until(lambda: len(receiver.got) == 2, within_s=10, what="the all-clear")
    desk.until_idle()


def test_many_outages_are_one_notice(desk: Desk, receiver: Receiver) -> None:
    outage_ids = [desk.outage(f"channel-{index:02}") for index in range(25)]

    assert sound_alarms(desk.parts) == 25
    desk.until_told(*outage_ids)

    (notice,) = receiver.got
    assert notice["title"] == "25 channels: messages do not go out"
    assert notice["message"].count("What to do: ") == alarms.DESCRIBED
    assert "And 15 more. See: truetick outages" in notice["message"]


def test_an_all_clear_for_a_channel_that_went_down_again_comes_first_and_does_not_call_it_up(
    desk: Desk, receiver: Receiver
) -> None:
    old = desk.outage(alarmed_at=desk.now)
    desk.ends(old)
    new = desk.outage(reason="logged_out")

    assert sound_alarms(desk.parts) == 2
    desk.until_told(new)

    clear, alarm = receiver.got
    assert (clear["type"], alarm["type"]) == ("success", "failure")
    assert "It does not send yet." in clear["message"]
    assert "logged_out" in alarm["message"]


def test_an_alarm_speaks_of_the_channel_as_it_is_when_people_are_told(desk: Desk, receiver: Receiver) -> None:
    outage_id = desk.outage(reason="connecting")
    with transaction(desk.engine) as connection:
        connection.execute(update(Channel).values(reason="logged_out"))

    sound_alarms(desk.parts)
    desk.until_told(outage_id)

    assert "Link it again by QR code" in receiver.got[0]["message"]


def test_no_log_line_shows_an_address_a_number_or_a_text(
    desk_at: Callable[..., Desk],
    receivers: Callable[[], Receiver],
    free_port: int,
    log_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    good, broken = receivers(), receivers()
    broken.status = 500
    addresses = (
        good.url,
        broken.url,
        f"json://user:{SECRET}@127.0.0.1:{free_port}/{SECRET}",
        f"nonsense://{SECRET}",
        f"{SECRET}",
        f"slack://{SECRET}",
    )
    desk = desk_at(*addresses, within_s=10)
    outage_id = desk.outage()
    desk.message(outage_id, at_risk=True)

    sound_alarms(desk.parts)
    desk.until_told(outage_id)

    lines = log_lines()
    assert {line["address"] for line in told_of(lines, "alert_not_delivered")} == {2, 3, 4, 5, 6}
    assert SECRET in "".join(good.headers) + good.url, "the test looks for something that is not there"
    for precious in (SECRET, NUMBER, TEXT, str(free_port)):
        assert precious not in json.dumps(lines)
    assert SECRET not in repr(desk.parts.courier) + repr(vars(desk.parts.courier))


@pytest.fixture
def free_port() -> int:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
