"""Measures what sending costs: Truetick's drain and a naive Celery task per message, side by side.

Both get the same rows in the same PostgreSQL, the same broker, the same sandbox without latency, one worker process
each with eight threads. Counted is the worker's own CPU time (user and system), from first send to last answer.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import psutil
import typer
from celery import Celery
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import func, insert, select, update

from tests.bench import naive
from tests.live_stack import ROOT
from tests.real_servers import running_postgres, running_valkey, wait_until
from wasender_sandbox.control import Sandbox
from wasender_sandbox.process import SandboxProcess
from worker.channels import registry
from worker.channels.registry import NewChannel
from worker.clock import system_clock
from worker.database import open_engine, snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.message_request import SendRequest
from worker.domain.message_status import MessageState
from worker.domain.pace import Pace
from worker.models import Channel, Message
from worker.outbox.enqueue import Defaults, enqueue
from worker.outbox.events import Source
from worker.settings import read_settings
from worker.vault import Vault

SECRET_KEY = "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtMTI="
console = Console()


@dataclass(frozen=True)
class Measured:
    name: str
    messages: int
    seconds: float
    cpu_s: float

    @property
    def us_per_message(self) -> float:
        return self.cpu_s / self.messages * 1e6


@dataclass(frozen=True)
class Place:
    """The servers that both sides share."""

    database_url: str
    broker_url: str
    sandbox: Sandbox
    folder: Path

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "CELERY_BROKER_URL": self.broker_url,
            "WASENDER_BASE_URL": self.sandbox.api_url,
            "WASENDER_API_KEY": "00" * 32,
            "TRUETICK_SECRET_KEY": SECRET_KEY,
            "TRUETICK_VAR_DIR": str(self.folder),
            "TRUETICK_LOG_LEVEL": "WARNING",
            "TRUETICK_PACE": "1000/1",
        }


@contextmanager
def worker(place: Place, app: str, *options: str) -> Iterator[psutil.Process]:
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        app,
        "worker",
        "--pool",
        "threads",
        "--concurrency",
        "8",
        *options,
    ]
    with (place.folder / f"{app}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=place.environment(), stdout=log, stderr=log)
        try:
            with Celery(broker=place.broker_url, set_as_current=False) as crm:
                wait_until(lambda: crm.control.ping(timeout=0.5), within_s=30, what="the worker's start")
            yield psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


def measure(
    name: str, messages: int, process: psutil.Process, begin: Callable[[], object], done: Callable[[], int]
) -> Measured:
    """Run until `done` says that all messages were answered; counts the process's CPU meanwhile."""
    before, started = sum(process.cpu_times()[:2]), time.monotonic()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(name, total=messages)
        begin()
        while (count := done()) < messages:
            progress.update(task, completed=count)
            if time.monotonic() - started > 600:
                raise typer.Exit(1)
            time.sleep(0.1)
    seconds = time.monotonic() - started
    return Measured(name, messages, seconds, sum(process.cpu_times()[:2]) - before)


def bench_truetick(place: Place, messages: int, channels: int) -> Measured:
    engine = open_engine(place.database_url)
    vault = Vault(read_settings(TRUETICK_SECRET_KEY=SECRET_KEY, _env_file=None))
    now = system_clock()
    with transaction(engine) as connection:
        ids = []
        for number in range(channels):
            key = f"{number + 1:064x}"
            place.sandbox.create_channel(f"bench-{number}", api_key=key, limit="none")
            new = NewChannel(name=f"bench-{number}", pace=Pace(1000, 1), api_key_encrypted=vault.seal(key))
            ids.append(registry.add(connection, new, now))
        # Held back until the measurement begins.
        connection.execute(update(Channel).values(state=ChannelState.PAUSED))
        for number in range(messages):
            enqueue(
                connection,
                SendRequest(to=f"+9170330{number % 90_000:05d}", text=f"message {number}"),
                channel_id=ids[number % channels],
                message_id=uuid4(),
                defaults=Defaults(region="IN", on_doubt="hold"),
                now=now,
                source=Source.API,
            )

    def begin() -> None:
        with transaction(engine) as connection:
            connection.execute(update(Channel).where(Channel.id.in_(ids)).values(state=ChannelState.UP))
        crm.send_task("truetick.drain", queue="truetick.drain")

    def done() -> int:
        with snapshot(engine) as connection:
            return connection.execute(
                select(func.count()).select_from(Message).where(Message.state == MessageState.ACCEPTED)
            ).scalar_one()

    with worker(place, "worker") as process, Celery(broker=place.broker_url, set_as_current=False) as crm:
        time.sleep(1)  # what a worker does once at its start is not counted
        measured = measure("Truetick, drain", messages, process, begin, done)
    engine.dispose()
    return measured


def bench_naive(place: Place, messages: int, channels: int) -> Measured:
    engine = open_engine(place.database_url)
    naive.Base.metadata.create_all(engine)
    with transaction(engine) as connection:
        connection.execute(
            insert(naive.NaiveMessage),
            [
                {
                    "recipient": f"+9170330{number % 90_000:05d}",
                    "text": f"message {number}",
                    "api_key": f"{number % channels + 1:064x}",
                    "status": "pending",
                }
                for number in range(messages)
            ],
        )
        ids = connection.execute(select(naive.NaiveMessage.id)).scalars().all()

    def done() -> int:
        with snapshot(engine) as connection:
            return connection.execute(
                select(func.count()).select_from(naive.NaiveMessage).where(naive.NaiveMessage.status == "sent")
            ).scalar_one()

    with Celery(broker=place.broker_url, set_as_current=False) as crm:
        for message_id in ids:
            crm.send_task("naive.send", args=[message_id], queue="naive")
    with worker(place, "tests.bench.naive", "--queues", "naive-later") as process:
        time.sleep(1)

        def begin() -> None:
            with Celery(broker=place.broker_url, set_as_current=False) as crm:
                crm.control.add_consumer("naive")

        measured = measure("a Celery task per message", messages, process, begin, done)
    engine.dispose()
    return measured


def main(
    messages: Annotated[int, typer.Option(help="How many messages each side sends.", min=100)] = 5000,
    channels: Annotated[int, typer.Option(help="On how many channels they are spread.", min=1)] = 50,
    rounds: Annotated[int, typer.Option(help="How often both sides run, in turn.", min=1)] = 3,
) -> None:
    """Measure messages per second and CPU per message, beside a naive Celery task per message."""
    results: list[tuple[Measured, Measured]] = []
    with running_postgres() as postgres, running_valkey() as valkey, SandboxProcess() as sandbox:
        for number in range(rounds):
            with postgres.database() as url, tempfile.TemporaryDirectory() as folder:
                valkey.client.flushall()
                sandbox.control.reset()
                place = Place(url, valkey.url, sandbox.control, Path(folder))
                results.append((bench_truetick(place, messages, channels), bench_naive(place, messages, channels)))
            mine, other = results[-1]
            ratio = other.us_per_message / mine.us_per_message
            console.print(f"round {number + 1}: {ratio:.2f} times fewer CPU seconds per message")
    show(results)


def show(results: list[tuple[Measured, Measured]]) -> None:
    table = Table("way", "messages/s", "worker CPU µs per message", "messages/s per core")
    for way in zip(*results, strict=True):
        median = sorted(way, key=lambda measured: measured.us_per_message)[len(way) // 2]
        table.add_row(
            median.name,
            f"{median.messages / median.seconds:.0f}",
            f"{median.us_per_message:.0f}",
            f"{1e6 / median.us_per_message:.0f}",
        )
    ratios = sorted(other.us_per_message / mine.us_per_message for mine, other in results)
    console.print(table)
    console.print(
        f"CPU of a naive task over Truetick's, median of {len(ratios)}: {ratios[len(ratios) // 2]:.2f} (aim: 3)"
    )


if __name__ == "__main__":
    typer.run(main)
