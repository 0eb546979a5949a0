"""CPU per message: Truetick's drain beside a naive Celery task per message, on the same servers."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from celery import Celery
from sqlalchemy import func, insert, select, update

from tests.bench import naive
from tests.bench.figures import Figure, at_least, at_most, told
from tests.bench.pending import park
from tests.bench.stage import Servers, Stage, bare_worker, channel_key, empty_stage
from tests.bench.usage import Meter
from worker.database import snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace
from worker.models import Channel, Message

#: What the drain took before there were windows and ticks to heed, with some room for another machine.
FORMER_US, ROOM = 1683.0, 1.25
LONGEST_S = 600.0


def measure(servers: Servers, *, messages: int, channels: int, rounds: int) -> list[Figure]:
    """Both sides in turn, `rounds` times; the median of each."""
    mine, other, speed = [], [], []
    for _ in range(rounds):
        with empty_stage(servers) as stage:
            ours = _truetick(stage, messages, channels)
            theirs = _naive(stage, messages, channels)
        mine.append(ours.us_per_message)
        other.append(theirs.us_per_message)
        speed.append(ours.messages_per_s)
    ratio = _median([theirs / ours for ours, theirs in zip(mine, other, strict=True)])
    return [
        at_most("worker CPU per message, drain alone", _median(mine), FORMER_US * ROOM, "µs", digits=0),
        told("the same, a Celery task per message", _median(other), "µs", digits=0),
        at_least("the one over the other", ratio, 3, "times"),
        told("messages per second of the drain", _median(speed), "/s", digits=0),
    ]


class _Run:
    def __init__(self, messages: int, seconds: float, cpu_s: float) -> None:
        self.us_per_message = cpu_s / messages * 1e6
        self.messages_per_s = messages / seconds


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _truetick(stage: Stage, messages: int, channels: int) -> _Run:
    pace = Pace(1000, 1)
    # Held back until the measurement begins.
    ids = stage.open_channels(channels, pace, state=ChannelState.PAUSED, limit="none")
    with stage.progress() as progress:
        park(stage.engine, ids, messages, progress)

    def begin() -> None:
        # No ticks are asked for here, so the window must let everything through.
        let_go = update(Channel).where(Channel.id.in_(ids)).values(state=ChannelState.UP, unacked_window=messages)
        with transaction(stage.engine) as connection:
            connection.execute(let_go)
        with Celery(broker=stage.broker.url, set_as_current=False) as crm:
            crm.send_task("truetick.drain", queue="truetick.drain")

    def done() -> int:
        with snapshot(stage.engine) as connection:
            return connection.execute(
                select(func.count()).select_from(Message).where(Message.state == MessageState.ACCEPTED)
            ).scalar_one()

    with bare_worker(stage, "worker", TRUETICK_LOG_LEVEL="WARNING") as pid:
        return _timed(stage, "Truetick", messages, pid, begin, done)


def _naive(stage: Stage, messages: int, channels: int) -> _Run:
    naive.Base.metadata.create_all(stage.engine)
    with transaction(stage.engine) as connection:
        connection.execute(
            insert(naive.NaiveMessage),
            [
                {
                    "recipient": f"+9170330{number % 90_000:05d}",
                    "text": f"message {number}",
                    "api_key": channel_key(f"bench-{number % channels}"),
                    "status": "pending",
                }
                for number in range(messages)
            ],
        )
        ids = connection.execute(select(naive.NaiveMessage.id)).scalars().all()

    def done() -> int:
        with snapshot(stage.engine) as connection:
            return connection.execute(
                select(func.count()).select_from(naive.NaiveMessage).where(naive.NaiveMessage.status == "sent")
            ).scalar_one()

    crm: AbstractContextManager[Celery] = Celery(broker=stage.broker.url, set_as_current=False)
    with crm as publisher:
        for message_id in ids:
            publisher.send_task("naive.send", args=[message_id], queue="naive")
        with bare_worker(stage, "tests.bench.naive", "--queues", "naive-later") as pid:
            return _timed(
                stage,
                "a Celery task per message",
                messages,
                pid,
                lambda: publisher.control.add_consumer("naive"),
                done,
            )


def _timed(
    stage: Stage, what: str, messages: int, pid: int, begin: Callable[[], object], done: Callable[[], int]
) -> _Run:
    """Run until `done` says that all messages were answered; counts the worker's CPU meanwhile."""
    meter = Meter({"worker": pid})
    deadline = time.monotonic() + LONGEST_S
    with stage.progress() as progress:
        task = progress.add_task(what, total=messages)
        begin()
        while (count := done()) < messages:
            progress.update(task, completed=count)
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: {count} of {messages} messages went out within {LONGEST_S:g} s")
            time.sleep(0.1)
    usage = meter.read()
    return _Run(messages, usage.seconds, usage.cpu_s["worker"])
