"""`truetick up`, `demo`, `web` and `sandbox`: what runs the parts."""

import os
import sys
from typing import Annotated

import typer

WebHost = Annotated[str, typer.Option("--host", help="The address that the web server listens on.")]
WebPort = Annotated[int, typer.Option("--port", min=1, max=65535, help="The web server's port.")]
SandboxPort = Annotated[int, typer.Option("--sandbox-port", min=1, max=65535, help="The sandbox's port.")]


def register(app: typer.Typer) -> None:
    for command in (up, demo, web, sandbox):
        app.command()(command)


def up(
    host: WebHost = "127.0.0.1",
    port: WebPort = 5000,
    sandbox_port: SandboxPort = 8900,
    flower: Annotated[bool, typer.Option("--flower", help="Run Flower as well, on this machine only.")] = False,
    flower_port: Annotated[int, typer.Option(min=1, max=65535, help="Flower's port.")] = 5555,
) -> None:
    """Run everything on this machine until Ctrl-C: broker, database, worker, beat, web.

    Without WASENDER_API_KEY it talks to a sandbox of its own, and nothing reaches WhatsApp.

    Examples: `truetick up` · `truetick up --port 5001 --flower` · `WASENDER_API_KEY=… truetick up`
    """
    from worker.settings import settings
    from worker.stack.log_lines import Terminal
    from worker.stack.one_machine import OneMachine
    from worker.stack.parts import Addresses

    addresses = Addresses(
        web_host=host,
        web_port=port,
        sandbox_port=sandbox_port,
        flower_port=flower_port if flower else None,
    )
    raise typer.Exit(OneMachine(settings=settings(), addresses=addresses).run(Terminal()))


def demo() -> None:
    """Play the story of an outage on a stack of its own, and prove the outcome. Takes about a minute.

    Exit code 0 only if no message was called sent without WhatsApp's tick, none went out twice, out of order or over
    the limit, and all arrived that could.

    Example: `truetick demo`
    """
    from worker.demo.stage import play

    raise typer.Exit(play())


def web(host: WebHost = "127.0.0.1", port: WebPort = 5000) -> None:
    """Run the web server alone: the HTTP API.

    Without TRUETICK_API_KEYS a key is made once and kept in the var folder, in the file `api-key`.

    Example: `truetick web --host 0.0.0.0 --port 8080`
    """
    from worker.settings import settings
    from worker.stack.parts import web_command, web_environment

    os.environ.update(web_environment(settings()))
    sys.stdout.flush()
    command = web_command(host, port)
    os.execv(command[0], command)  # noqa: S606 - no shell: our own command


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 picks a free one.")] = 8900,
    host: Annotated[
        str, typer.Option(help="The address it listens on. It has no protection of its own.")
    ] = "127.0.0.1",
    limit: Annotated[str, typer.Option(help="The channel's send limit, messages/seconds.")] = "1/5",
    api_key: Annotated[
        str | None, typer.Option(envvar="TRUETICK_SANDBOX_API_KEY", help="Begin with a channel of this key.")
    ] = None,
    webhook_url: Annotated[
        str | None, typer.Option(envvar="TRUETICK_SANDBOX_WEBHOOK_URL", help="Where the channel's events go.")
    ] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(envvar="TRUETICK_SANDBOX_WEBHOOK_SECRET", help="What proves the channel's events.")
    ] = None,
) -> None:
    """Run a local WaSender for trying and testing. Nothing in it reaches WhatsApp.

    Example: `truetick sandbox --port 8900`
    """
    from wasender_sandbox.server import serve

    given = {"api_key": api_key, "webhook_url": webhook_url, "webhook_secret": webhook_secret}
    channel = {"name": "default", "limit": limit} | {name: value for name, value in given.items() if value}
    serve(host, port, channels=[channel] if api_key else [])
