"""The spine under fire: what the CRM enqueued, what WhatsApp got and what the database says must agree."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Row, select

from tests.conftest import API_KEY, SECRET_KEY
from tests.live_stack import LiveStack
from tests.real_servers import Valkey, wait_until
from wasender_sandbox.control import Sandbox
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.clock import system_clock
from worker.database import open_engine, snapshot, transaction
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.domain.message_status import PUBLIC_STATUS, MessageState
from worker.domain.pace import Pace
from worker.models import Channel, Event, Message
from worker.settings import read_settings
from worker.vault import Vault

MESSAGES = 500
RECIPIENTS = 60
KILLS = 3
PACE = Pace(30, 1)
CHANNELS = ("default", "sales", "support")
UNFINISHED = frozenset({MessageState.QUEUED, MessageState.SENDING, MessageState.ACCEPTED})


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def stack(database_url: str, engine: Engine, broker: Valkey, sandbox: Sandbox, tmp_path: Path) -> Iterator[LiveStack]:
    """No process yet, but three channels that the sandbox knows and paces as we do."""
    environment = {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": broker.url,
        "TRUETICK_VAR_DIR": str(tmp_path / "var"),
        "WASENDER_BASE_URL": sandbox.api_url,
        "WASENDER_API_KEY": API_KEY,
        "TRUETICK_SECRET_KEY": SECRET_KEY,
        "TRUETICK_PACE": str(PACE),
        "TRUETICK_LEASE_S": "3",
        "TRUETICK_READ_TIMEOUT_S": "2",
        "TRUETICK_SETTLE_S": "5",
        "TRUETICK_CHECK_INTERVAL_S": "1",
        "TRUETICK_RECONCILE_INTERVAL_S": "1",
        # Ticks are only asked for here, so at this pace a window of 20 would decide the speed.
        "TRUETICK_MAX_UNACKED": "100",
        "TRUETICK_SWEEP_INTERVAL_S": "0.5",
    }
    vault = Vault(read_settings(TRUETICK_SECRET_KEY=SECRET_KEY, _env_file=None))
    for number, name in enumerate(CHANNELS):
        key = API_KEY if name == DEFAULT_CHANNEL else f"{number:02x}" * 32
        sandbox.create_channel(name, api_key=key, limit=str(PACE), limit_mode="sliding")
        if name != DEFAULT_CHANNEL:
            with transaction(engine) as connection:
                new = NewChannel(name=name, pace=PACE, api_key_encrypted=vault.seal(key))
                registry.add(connection, new, system_clock())
    sandbox.latency(before="0.005-0.02", after="0.005-0.02")
    with LiveStack(tmp_path, environment) as stack:
        yield stack


def test_three_kills_and_a_flushed_broker_lose_nothing_and_double_nothing(
    stack: LiveStack, engine: Engine, broker: Valkey, sandbox: Sandbox
) -> None:
    for name in ("one", "two"):
        stack.worker(name)
    stack.beat()
    for number in range(MESSAGES):
        stack.send(to=f"70330{number % RECIPIENTS:05d}", text=f"{number}", channel=CHANNELS[number % len(CHANNELS)])
    wait_until(lambda: sum(states(engine).values()) == MESSAGES, within_s=60, what="the intake of all messages")

    for kill in range(KILLS):
        kill_a_worker_that_is_sending(stack, engine)
        if kill == 1:
            broker.client.flushall()
    wait_until(lambda: not states(engine).keys() & UNFINISHED, within_s=90, what="the end of the queue")

    messages, ledger = stored(engine), sandbox.ledger()
    doubted = {row.content["text"] for row in messages if row.state is MessageState.IN_DOUBT}
    acknowledged = {entry.msg_id: entry.text for entry in ledger if entry.acked_at is not None}
    arrived = Counter(entry.text for entry in ledger)

    assert len(messages) == MESSAGES
    for row in messages:
        if row.state is not MessageState.IN_DOUBT:
            assert PUBLIC_STATUS[row.state] in {"sent", "delivered", "read"}
            assert acknowledged.get(row.gateway_msg_id) == row.content["text"], "called sent without WhatsApp's tick"
    assert {text for text, count in arrived.items() if count > 1} == set(), "WhatsApp got a message twice"
    assert {row.content["text"] for row in messages} - set(arrived) <= doubted, "a message was lost"
    assert len(doubted) <= KILLS * len(CHANNELS) * 4, "more is in doubt than killed workers can have had in flight"
    assert order_violations(messages, ledger) == []
    assert sandbox.rate_violations() == 0
    assert broken_histories(engine) == []


def kill_a_worker_that_is_sending(stack: LiveStack, engine: Engine) -> None:
    """kill -9 for the process that holds a channel's lease, and a new one in its place."""

    def sending() -> str | None:
        with snapshot(engine) as connection:
            holders = connection.execute(
                select(Channel.lease_holder)
                .join(Message, Message.channel_id == Channel.id)
                .where(Message.state == MessageState.SENDING, Channel.lease_token == Message.lease_token)
            ).scalars()
            return next((name for holder in holders if holder and (name := stack.name_of(holder))), None)

    name: str = wait_until(sending, within_s=30, what="a message in flight")
    stack.kill(name)
    stack.worker(name)


def states(engine: Engine) -> Counter[MessageState]:
    with snapshot(engine) as connection:
        return Counter(connection.execute(select(Message.state)).scalars())


def stored(engine: Engine) -> list[Row[Any]]:
    with snapshot(engine) as connection:
        return list(connection.execute(select(Message.__table__).order_by(Message.seq)))


def order_violations(messages: list[Row[Any]], ledger: list[Any]) -> list[str]:
    """Messages that WhatsApp got after a later one to the same recipient. The order is that of the intake."""
    place = {row.content["text"]: (row.due_at, row.seq) for row in messages}
    last: dict[tuple[str, str], Any] = {}
    violations = []
    for entry in sorted(ledger, key=lambda entry: entry.index):
        key = (entry.channel, entry.recipient)
        if key in last and place[entry.text] < last[key]:
            violations.append(entry.text)
        last[key] = place[entry.text]
    return violations


def broken_histories(engine: Engine) -> list[int]:
    """Messages whose stored transitions do not lead, step by step, from nothing to the state they are in."""
    with snapshot(engine) as connection:
        now = {seq: state for seq, state in connection.execute(select(Message.seq, Message.state))}  # noqa: C416
        steps = connection.execute(
            select(Event.message_seq, Event.before, Event.after)
            .where(Event.message_seq.is_not(None))
            .order_by(Event.id)
        ).all()
    reached: dict[int, str | None] = dict.fromkeys(now)
    broken = [step.message_seq for step in steps if _does_not_follow(reached, step)]
    return broken + [seq for seq, state in now.items() if reached[seq] != state.value]


def _does_not_follow(reached: dict[int, str | None], step: Any) -> bool:
    follows = reached[step.message_seq] == step.before
    reached[step.message_seq] = step.after
    return not follows
