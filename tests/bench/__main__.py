"""Measure this machine: `make bench`, or one measurement alone and smaller, as `--help` shows."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from tests.bench import drain, figures, idle, many_channels, parked, two_workers
from tests.bench.figures import Figure
from tests.bench.stage import Servers, running_servers

console = Console()
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Messages = Annotated[int, typer.Option(help="How many messages.", min=100)]
Channels = Annotated[int, typer.Option(help="How many channels.", min=1)]
Seconds = Annotated[float, typer.Option(help="How long to measure.", min=1)]
Rounds = Annotated[int, typer.Option(help="How often.", min=1)]
Threads = Annotated[int | None, typer.Option(help="Sender threads of the worker; left out: the default.", min=1)]
Measurement = Callable[[Servers], list[Figure]]


@app.callback(invoke_without_command=True)
def everything(context: typer.Context) -> None:
    """Measure Truetick on this machine against a sandbox, and print what was found beside what is aimed at.

    Without a command all measurements run, which takes about twelve minutes. They need two cores to themselves.

    Example: make bench

    Example: make bench ARGS="parked --messages 10000 --seconds 10"

    Example: make bench ARGS="channels --channels 200 --threads 8"
    """
    if context.invoked_subcommand is None:
        _run(
            {
                "drain": lambda servers: drain.measure(servers, messages=5000, channels=50, rounds=3),
                "idle": lambda servers: idle.measure(servers, seconds=30),
                "parked": lambda servers: parked.measure(servers, messages=1_000_000, seconds=30, rounds=3),
                "channels": lambda servers: many_channels.measure(servers, channels=1000, seconds=60, threads=None),
                "pace": lambda servers: two_workers.measure(servers, seconds=60),
            }
        )


@app.command("drain")
def measure_drain(messages: Messages = 5000, channels: Channels = 50, rounds: Rounds = 3) -> None:
    """CPU per message, beside a naive Celery task per message.

    Example: make bench ARGS="drain --messages 1000 --rounds 1"
    """
    _run({"drain": lambda servers: drain.measure(servers, messages=messages, channels=channels, rounds=rounds)})


@app.command("idle")
def measure_idle(seconds: Seconds = 30) -> None:
    """What the stack costs with nothing to do.

    Example: make bench ARGS="idle --seconds 10"
    """
    _run({"idle": lambda servers: idle.measure(servers, seconds=seconds)})


@app.command("parked")
def measure_parked(
    messages: Messages = 1_000_000,
    seconds: Seconds = 30,
    rounds: Rounds = 3,
    check_interval: Annotated[float, typer.Option(help="Seconds between two looks at the session.", min=1)] = 30,
) -> None:
    """Many messages wait for a channel that is down: what that costs, and how soon sending goes on.

    Example: make bench ARGS="parked --messages 10000 --rounds 1 --check-interval 2"
    """
    _run(
        {
            "parked": lambda servers: parked.measure(
                servers, messages=messages, seconds=seconds, rounds=rounds, check_interval_s=check_interval
            )
        }
    )


@app.command("channels")
def measure_channels(channels: Channels = 1000, seconds: Seconds = 60, threads: Threads = None) -> None:
    """Many slow channels on one worker process: does each keep its pace, and do their ticks keep up?

    Example: make bench ARGS="channels --channels 200 --seconds 30 --threads 8"
    """
    _run(
        {
            "channels": lambda servers: many_channels.measure(
                servers, channels=channels, seconds=seconds, threads=threads
            )
        }
    )


@app.command("pace")
def measure_pace(seconds: Seconds = 60) -> None:
    """Two workers and a slow gateway: is the limit never broken, and is it used up?

    Example: make bench ARGS="pace --seconds 30"
    """
    _run({"pace": lambda servers: two_workers.measure(servers, seconds=seconds)})


def _run(measurements: dict[str, Measurement]) -> None:
    found: list[tuple[str, list[Figure]]] = []
    try:
        with running_servers(console) as servers:
            for name, measure in measurements.items():
                console.print(f"measuring: {name}")
                found.append((name, measure(servers)))
    finally:
        figures.show(console, found)


if __name__ == "__main__":
    app()
