"""How soon the first message goes out once the session is back: told by a webhook, or found out by asking."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from tests.bench.figures import Figure, at_most
from tests.bench.stage import Stage
from tests.real_servers import wait_until
from wasender_sandbox.records import SendRequest
from worker.database import snapshot
from worker.domain.channel_state import ChannelState
from worker.domain.message_status import MessageState
from worker.models import Channel, Event, Message

WITHIN_S = 2.0
#: For whatever is waited for, beside the check interval.
PATIENCE_S = 60.0


def until_down(stage: Stage) -> None:
    wait_until(lambda: _channel(stage).state is ChannelState.DOWN, within_s=PATIENCE_S, what="the outage's discovery")


def by_webhook(stage: Stage, rounds: int) -> list[Figure]:
    """From the scan itself, the webhook's way included."""
    since_scan = []
    for _ in range(rounds):
        _until_slot(stage)
        scanned_at, post = _scan(stage, within_s=PATIENCE_S)
        since_scan.append(post.arrived_at - scanned_at)
        _down_again(stage)
    return [at_most(f"scan to first POST, by webhook, worst of {rounds}", max(since_scan), WITHIN_S, "s", digits=3)]


def by_asking(stage: Stage, rounds: int, check_interval_s: float) -> list[Figure]:
    """From the moment at which the answer "connected" was stored, and from the scan itself."""
    stage.sandbox.change_channel("default", webhook_enabled=False)
    since_known, since_scan = [], []
    for _ in range(rounds):
        _until_slot(stage)
        scanned_at, post = _scan(stage, within_s=check_interval_s + PATIENCE_S)
        since_known.append(post.arrived_at - _came_up_at(stage).timestamp())
        since_scan.append(post.arrived_at - scanned_at)
        _down_again(stage)
    return [
        at_most(f"answer 'connected' to first POST, worst of {rounds}", max(since_known), WITHIN_S, "s", digits=3),
        at_most(
            f"scan to first POST, by asking, worst of {rounds}",
            max(since_scan),
            check_interval_s + WITHIN_S,
            "s",
            digits=1,
        ),
    ]


def _scan(stage: Stage, *, within_s: float) -> tuple[float, SendRequest]:
    """Scan the code. Gives when, by the sandbox's clock, and the first POST after it."""
    before = len(stage.sandbox.requests())
    scanned_at = float(stage.sandbox.state()["now"])
    stage.sandbox.scan("default")
    found: list[SendRequest] = wait_until(
        lambda: stage.sandbox.requests(after=before - 1), within_s=within_s, what="the first POST after the scan"
    )
    return scanned_at, found[0]


def _down_again(stage: Stage) -> None:
    """Only once the message is ticked, so that nothing is in the way of the next round."""
    wait_until(lambda: not _open(stage), within_s=PATIENCE_S, what="the tick of what went out")
    stage.sandbox.set_status("default", "need_scan")
    until_down(stage)


def _until_slot(stage: Stage) -> None:
    """The pace has nothing to do with what is measured here."""
    wait_until(lambda: _channel(stage).next_slot_at < _now(stage), within_s=PATIENCE_S, what="the next slot")


def _channel(stage: Stage) -> Any:
    with snapshot(stage.engine) as connection:
        return connection.execute(select(Channel.__table__).where(Channel.name == "default")).one()


def _now(stage: Stage) -> datetime:
    with snapshot(stage.engine) as connection:
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now


def _open(stage: Stage) -> int:
    with snapshot(stage.engine) as connection:
        return connection.execute(
            select(func.count()).where(Message.state.in_((MessageState.SENDING, MessageState.ACCEPTED)))
        ).scalar_one()


def _came_up_at(stage: Stage) -> datetime:
    with snapshot(stage.engine) as connection:
        at: datetime | None = connection.execute(
            select(func.max(Event.at)).where(Event.message_seq.is_(None), Event.after == ChannelState.UP.value)
        ).scalar()
    assert at is not None
    return at
