"""The sandbox's command line: run it, and steer a running one.

Every steering command takes `--url` (or SANDBOX_URL) and `--json`; exit code 1 means the sandbox said no.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from wasender_sandbox import server
from wasender_sandbox.control import Sandbox, SandboxError
from wasender_sandbox.errors import ControlError
from wasender_sandbox.faults import KINDS
from wasender_sandbox.recipients import mask
from wasender_sandbox.settings import read_spec
from wasender_sandbox.world import DEFAULT_PAT

app = typer.Typer(
    name="wasender-sandbox",
    help="A local WaSender. Nothing in it reaches WhatsApp.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Url = Annotated[str, typer.Option("--url", envvar="SANDBOX_URL", help="Where the sandbox runs.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OnlyChannel = Annotated[str | None, typer.Option("--channel", help="Only this channel.")]
Name = Annotated[str, typer.Argument(help="Name of the channel.")]

URL = "http://127.0.0.1:8900"


@app.command(epilog="Example: run --port 8900 --channel name=sales,key=test-key,limit=1/5,status=need_scan")
def run(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one and prints it.")] = 8900,
    seed: Annotated[int, typer.Option(help="Seed of all chances.")] = 0,
    pat: Annotated[str, typer.Option(help="The personal access token.")] = DEFAULT_PAT,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="name=…,key=…,limit=1/5,status=need_scan,webhook=URL,secret=… (repeatable)."),
    ] = None,
) -> None:
    """Run the sandbox until it is stopped."""
    try:
        settings = [read_spec(spec) for spec in channel or []]
        server.serve(host, port, seed=seed, pat=pat, channels=settings)
    except (ControlError, OSError) as error:
        _stop(str(error))


@app.command(epilog="Example: status --json")
def status(url: Url = URL, as_json: AsJson = False) -> None:
    """Channels with their state and counts."""
    with _control(url) as sandbox:
        state = sandbox.state()
    if as_json:
        _print_json(state)
        return
    columns = ("name", "status", "says", "muted", "limit", "accepted", "acked", "held", "rate_violations")
    _print_rows(state["channels"], columns)


@app.command(epilog="Example: scan sales")
def scan(name: Name, url: Url = URL, as_json: AsJson = False) -> None:
    """Scan the QR code of a channel: it is connected."""
    with _control(url) as sandbox:
        sandbox.scan(name)
        _report(sandbox, name, as_json)


@app.command(epilog="Example: down sales --as logged_out --quiet")
def down(
    name: Name,
    word: Annotated[str, typer.Option("--as", help="The status it gets; also banned, drop.")] = "disconnected",
    says: Annotated[str | None, typer.Option(help="What the API claims instead, e.g. connected.")] = None,
    quiet: Annotated[bool, typer.Option(help="No session.status webhook.")] = False,
    back_after_s: Annotated[float | None, typer.Option(help="Connected again after seconds.")] = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Take a channel's session down."""
    with _control(url) as sandbox:
        sandbox.set_status(name, word, quiet=quiet, back_after_s=back_after_s)
        sandbox.lie(name, says)
        _report(sandbox, name, as_json)


@app.command(epilog="Example: up sales")
def up(name: Name, url: Url = URL, as_json: AsJson = False) -> None:
    """Connect a channel's session again and end its lies."""
    with _control(url) as sandbox:
        sandbox.lie(name, None)
        sandbox.set_status(name, "connected")
        _report(sandbox, name, as_json)


@app.command(epilog="Example: mute sales --then stuck")
def mute(
    name: Name,
    then: Annotated[str | None, typer.Option(help="What becomes of its messages: later, failed or stuck.")] = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Let a channel say connected and accept, but never tick."""
    with _control(url) as sandbox:
        sandbox.mute(name, then=then)
        _report(sandbox, name, as_json)


@app.command(epilog="Example: unmute sales")
def unmute(name: Name, url: Url = URL, as_json: AsJson = False) -> None:
    """Let a mute channel tick again."""
    with _control(url) as sandbox:
        sandbox.unmute(name)
        _report(sandbox, name, as_json)


@app.command(epilog="Example: latency --before 0.2-0.5 --after 10 --channel sales")
def latency(
    before: Annotated[str | None, typer.Option(help="Seconds or a range before a send is decided.")] = None,
    after: Annotated[str | None, typer.Option(help="Seconds or a range after it is accepted.")] = None,
    channel: OnlyChannel = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Make sends slow; 0 makes them fast again."""
    with _control(url) as sandbox:
        sandbox.latency(before=before, after=after, channel=channel)
        _done(as_json, "Latency set.")


@app.command(
    epilog="Kinds: "
    + ", ".join(KINDS)
    + ". Examples: fault reset --when after --count 1 · fault html --probability 0.05 · fault --clear"
)
def fault(
    kind: Annotated[str | None, typer.Argument(help="What goes wrong; without it the armed faults.")] = None,
    when: Annotated[str | None, typer.Option(help="before or after the message is accepted.")] = None,
    count: Annotated[int | None, typer.Option(help="The next N requests; without it until cleared.")] = None,
    probability: Annotated[float, typer.Option(help="Chance per request.")] = 1.0,
    channel: OnlyChannel = None,
    recipient: Annotated[str | None, typer.Option(help="Only sends to this number.")] = None,
    endpoint: Annotated[str, typer.Option(help="send-message, status, info, message-logs… or *.")] = ("send-message"),
    status_code: Annotated[int | None, typer.Option("--status", help="HTTP status.")] = None,
    seconds: Annotated[str | None, typer.Option(help="For delay and hang: seconds or a range.")] = None,
    body: Annotated[str, typer.Option(help="For answer: the body.")] = "",
    retry_after: Annotated[int, typer.Option(help="For throttled: seconds.")] = 5,
    clear: Annotated[bool, typer.Option("--clear", help="Disarm all faults.")] = False,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Arm a fault, list the armed ones, or clear them."""
    with _control(url) as sandbox:
        if clear:
            _done(as_json, f"Faults cleared: {sandbox.clear_faults()}.")
        if kind is not None:
            sandbox.fault(
                kind,
                when=when,
                count=count,
                probability=probability,
                channel=channel,
                recipient=recipient,
                endpoint=endpoint,
                status=status_code,
                seconds=seconds,
                body=body,
                retry_after=retry_after,
            )
        armed = sandbox.state()["faults"]
    if clear and kind is None:
        return
    if as_json:
        _print_json(armed)
    else:
        _print_rows(armed, ("id", "kind", "when", "endpoint", "channel", "left", "probability", "hits"))


@app.command(epilog="Example: webhooks --lost 0.3 --doubled 0.1 --delay 0.5-2")
def webhooks(
    lost: Annotated[float | None, typer.Option(help="Chance that an event gets lost.")] = None,
    doubled: Annotated[float | None, typer.Option(help="Chance that it comes twice.")] = None,
    reordered: Annotated[float | None, typer.Option(help="Chance that later ones overtake it.")] = None,
    early: Annotated[float | None, typer.Option(help="Chance that ticks come before the answer.")] = None,
    delay: Annotated[str | None, typer.Option(help="Seconds or a range.")] = None,
    channel: OnlyChannel = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Trouble for webhook events on their way; shows their counts."""
    with _control(url) as sandbox:
        sandbox.webhooks(lost=lost, doubled=doubled, reordered=reordered, early=early, delay=delay, channel=channel)
        counts = sandbox.state()["webhooks"]
    if as_json:
        _print_json(counts)
    else:
        typer.echo("\n".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items()))


@app.command(epilog="Example: ledger --channel sales --acked --json")
def ledger(
    channel: OnlyChannel = None,
    recipient: Annotated[str | None, typer.Option(help="Only this recipient (+digits).")] = None,
    acked: Annotated[
        bool | None, typer.Option("--acked/--unacked", help="Only what WhatsApp has, or has not.")
    ] = None,
    last: Annotated[int, typer.Option(help="How many of the newest; 0 shows all.")] = 20,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Accepted messages and their ticks, newest last; numbers are masked unless --json."""
    with _control(url) as sandbox:
        entries = sandbox.ledger(channel=channel, recipient=recipient, acked=acked)[-last:]
    rows = [{name: getattr(entry, name) for name in entry.__slots__} for entry in entries]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        row["recipient"] = mask(row["recipient"])
    _print_rows(rows, ("index", "msg_id", "channel", "recipient", "kind", "log_status", "status"))


@app.command(epilog="Examples: switch rate_reset epoch · switch (lists them all)")
def switch(
    name: Annotated[str | None, typer.Argument(help="Name of the switch.")] = None,
    value: Annotated[str | None, typer.Argument(help="Its new value.")] = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Set a switch, or list them with their values and meanings."""
    with _control(url) as sandbox:
        if name is not None and value is not None:
            sandbox.switch(name, value)
        rows = [row for row in sandbox.switches() if name in (None, row["name"])]
    if name is not None and not rows:
        _stop(f"There is no switch named {name!r}. Run `switch` to see them all.")
    if as_json:
        _print_json(rows)
    else:
        _print_rows(rows, ("name", "value", "choices", "meaning", "question"))


@app.command(epilog="Example: reset")
def reset(url: Url = URL, as_json: AsJson = False) -> None:
    """Forget everything, channels too."""
    with _control(url) as sandbox:
        sandbox.reset()
        _done(as_json, "The sandbox is empty.")


@contextmanager
def _control(url: str) -> Iterator[Sandbox]:
    try:
        with Sandbox(url) as sandbox:
            yield sandbox
    except SandboxError as error:
        _stop(str(error))


def _stop(problem: str) -> None:
    typer.echo(problem, err=True)
    raise typer.Exit(1)


def _report(sandbox: Sandbox, name: str, as_json: bool) -> None:
    row = sandbox.channel(name)
    if as_json:
        _print_json(row)
        return
    says = f", says {row['says']}" if row["says"] else ""
    typer.echo(f"{name}: {row['status']}{says}{', mute' if row['muted'] else ''}")


def _done(as_json: bool, sentence: str) -> None:
    if as_json:
        _print_json({"ok": True})
    else:
        typer.echo(sentence)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _print_rows(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    Console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
