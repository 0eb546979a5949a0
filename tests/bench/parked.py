"""A million messages wait for a channel that is down: what that costs, and how soon sending goes on."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import requests
from sqlalchemy import func, select, text

from tests.bench import reconnect
from tests.bench.figures import Figure, at_most, told
from tests.bench.pending import park
from tests.bench.stage import API_KEY, CRM_KEY, WEBHOOK_SECRET, Servers, Stage, empty_stage
from tests.bench.usage import BrokerContent, Meter, broker_content, postmaster
from worker.channels import registry
from worker.clock import system_clock
from worker.database import snapshot, transaction
from worker.domain.pace import Pace
from worker.models import Message

STACK = ("worker", "beat", "web", "broker")
MOST_PERCENT = 2.0
#: Wake-ups on the way at one moment, whatever number of messages waits.
MOST_TASKS = 10
PACE = Pace(1, 5)
WARM_UP_S = 5.0
ASKED_TIMES = 3


def measure(
    servers: Servers,
    *,
    messages: int,
    seconds: float,
    rounds: int,
    check_interval_s: float = 30.0,
    warm_up_s: float = WARM_UP_S,
) -> list[Figure]:
    with empty_stage(servers) as stage:
        with transaction(stage.engine) as connection:
            channel_id = registry.ensure_default(connection, PACE, system_clock())
        with stage.progress() as progress:
            park(stage.engine, [channel_id], messages, progress)
        stage.sandbox.create_channel(
            "default",
            api_key=API_KEY,
            limit=str(PACE),
            limit_mode="spacing",
            status="need_scan",
            webhook_url=f"http://127.0.0.1:{stage.web_port}/webhooks/wasender/default",
            webhook_secret=WEBHOOK_SECRET,
            # Ticks are learnt by asking, as on a stack that nobody has set up webhooks for.
            webhook_events=["session.status"],
        )
        settings = {
            "WASENDER_API_KEY": API_KEY,
            "WASENDER_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TRUETICK_CHECK_INTERVAL_S": f"{check_interval_s:g}",
        }
        with stage.processes("worker", "beat", "web", **settings) as pids:
            reconnect.until_down(stage)
            stage.pass_time("warming up", warm_up_s)
            figures = _idling(stage, pids, messages, seconds)
            figures += _questions(stage, settings)
            figures += reconnect.by_webhook(stage, rounds)
            figures += reconnect.by_asking(stage, rounds, check_interval_s)
    return figures


def _idling(stage: Stage, pids: dict[str, int], messages: int, seconds: float) -> list[Figure]:
    touched = _touched(stage)
    meter = Meter(pids | {"broker": stage.broker.pid, "PostgreSQL": postmaster(stage.engine)})
    seen = _watch_broker(stage, seconds)
    usage = meter.read()
    touched = _touched(stage) - touched
    untouched = messages - _still_queued(stage) + touched
    return [
        at_most(f"CPU of worker, beat, web, broker; {messages:,} wait", usage.percent(*STACK), MOST_PERCENT, "%"),
        *(told(f"of these, {name}" if name in STACK else name, usage.percent(name), "%") for name in usage.cpu_s),
        at_most("most tasks in the broker", max(one.tasks for one in seen), MOST_TASKS, "tasks", digits=0),
        told("the broker's memory", max(one.used_mib for one in seen), "MiB"),
        at_most("messages touched while it was down", untouched, 0, "rows", digits=0),
    ]


def _watch_broker(stage: Stage, seconds: float) -> list[BrokerContent]:
    """Looked at often enough to see more than one moment, and seldom enough to cost nothing."""
    seen = []
    ends_at = time.monotonic() + seconds
    with stage.broker.client as client, stage.progress() as progress:
        task = progress.add_task("idling (s)", total=round(seconds))
        while (left_s := ends_at - time.monotonic()) > 0:
            seen.append(broker_content(client))
            progress.update(task, completed=int(seconds - left_s))
            time.sleep(min(0.5, left_s))
    return seen


def _touched(stage: Stage) -> int:
    """How many rows of messages were updated or deleted, as PostgreSQL has counted so far."""
    with snapshot(stage.engine) as connection:
        count: int = connection.execute(
            text("SELECT n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'messages'")
        ).scalar_one()
    return count


def _still_queued(stage: Stage) -> int:
    with snapshot(stage.engine) as connection:
        return connection.execute(
            select(func.count()).select_from(Message).where(text("messages.state = 'queued'"))
        ).scalar_one()


def _questions(stage: Stage, settings: dict[str, str]) -> list[Figure]:
    """What people and CRMs ask and say while all that waits."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {CRM_KEY}"
    url = f"http://127.0.0.1:{stage.web_port}/api"

    def ask() -> None:
        answer = session.get(f"{url}/whatsapp/status", timeout=60)
        assert answer.status_code == 200, answer.text

    def send() -> None:
        answer = session.post(f"{url}/messages", json={"to": "+917033009600", "text": "one more"}, timeout=60)
        assert answer.status_code == 202, answer.text

    def show() -> None:
        shown = stage.folder / "status.txt"
        stage.start("truetick", "status", environment=stage.environment(**settings), output=shown).wait(60)
        assert "need_scan" in shown.read_text(), shown.read_text()

    with session:
        return [
            at_most("GET /api/whatsapp/status", _median_s(ask), 1, "s", digits=3),
            at_most("truetick status, start of the program included", _median_s(show), 3, "s", digits=3),
            at_most("POST /api/messages", _median_s(send), 0.2, "s", digits=3),
        ]


def _median_s(work: Callable[[], Any]) -> float:
    """After one that is not counted."""
    work()
    took = []
    for _ in range(ASKED_TIMES):
        began = time.monotonic()
        work()
        took.append(time.monotonic() - began)
    return statistics.median(took)
