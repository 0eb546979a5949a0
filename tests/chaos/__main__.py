"""The long version: many messages, many faults, both setups, and a table that says what was kept."""

import secrets
import shutil
import tempfile
from collections import Counter
from math import ceil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.evidence import Evidence
from tests.chaos.judge import Broken, Verdict
from tests.chaos.place import SETUPS, Setup
from tests.chaos.run import Outcome, Size, run

console = Console()
#: Of one kind so many violations are told in full; the rest is in the folder that is kept.
MOST_TOLD = 5


def main(
    messages: Annotated[int, typer.Option(help="How many messages, over all setups.", min=10)] = 20_000,
    faults: Annotated[int, typer.Option(help="How many faults, over all setups.", min=0)] = 200,
    seed: Annotated[int | None, typer.Option(help="Repeat the plan of a former run.")] = None,
    setup: Annotated[str | None, typer.Option(help="Only postgresql, or only sqlite.")] = None,
    span_s: Annotated[float, typer.Option(help="Seconds over which load and faults are spread.", min=1)] = 300.0,
    channels: Annotated[int, typer.Option(help="On how many channels.", min=1)] = 8,
) -> None:
    """Break everything, many times, while messages flow; then judge by what WhatsApp has.

    Exit code 0 only if every promise was kept.
    """
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    chosen = [one for one in SETUPS if setup in (None, one.database)]
    if not chosen:
        raise typer.BadParameter("--setup is postgresql or sqlite")
    size = Size(
        messages=ceil(messages / len(chosen)),
        faults=ceil(faults / len(chosen)),
        span_s=span_s,
        channels=channels,
        recipients=50 * channels,
    )
    console.print(f"seed {seed}: {size.messages} messages and {size.faults} faults on each of {len(chosen)} setups")
    outcomes = {one: _run_visibly(one, size, seed) for one in chosen}
    console.print(_faults_table(outcomes))
    console.print(_verdict_table(outcomes))
    kept = all(outcome.verdict.kept for outcome in outcomes.values())
    console.print(f"seed {seed}: {'all promises kept' if kept else '[red]promises were broken[/red]'}")
    raise typer.Exit(0 if kept else 1)


def _run_visibly(setup: Setup, size: Size, seed: int) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix="tt-chaos-"))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        over = bars.add_task(f"{setup.name}: faults over", total=size.faults)
        done = bars.add_task("messages done", total=size.messages)

        def tell(ended: int, stored: int, left: int) -> None:
            bars.update(over, completed=ended)
            bars.update(done, completed=stored - left)

        outcome = run(setup, size, seed=seed + SETUPS.index(setup), folder=folder, progress=tell)
    if outcome.verdict.kept:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _tell_violations(outcome, folder)
    return outcome


def _tell_violations(outcome: Outcome, folder: Path) -> None:
    """A few of each kind on the screen, all of them with the messages' histories beside the processes' logs."""
    told: Counter[Broken] = Counter()
    lines = [str(strike) for strike in outcome.strikes] + [""]
    for violation in outcome.verdict.violations:
        told[violation.broken] += 1
        if told[violation.broken] <= MOST_TOLD:
            console.print(f"[red]{violation.broken}[/red] {escape(violation.what)}", highlight=False)
        lines += [f"{violation.broken}: {violation.what}", *history(outcome.evidence, violation.seq)]
    (folder / "violations.txt").write_text("\n".join(lines) + "\n")
    console.print(f"All violations with their histories, and the logs of all processes: {folder}")


def history(evidence: Evidence, seq: int | None) -> list[str]:
    """What is known of one message: its stored transitions, and its copies at WaSender."""
    message = next((message for message in evidence.messages if message.seq == seq), None)
    if message is None:
        return []
    steps = [
        f"    {step.at:.3f} {step.before} > {step.after} {step.source} {step.reason}"
        for step in evidence.steps
        if step.seq == seq
    ]
    copies = [
        f"    {entry.received_at:.3f} at WaSender: msgId {entry.msg_id} on {entry.channel}, ticked {entry.acked_at}"
        for entry in evidence.ledger
        if entry.text == message.text
    ]
    return [f"    {message}", *sorted(steps + copies)]


def _faults_table(outcomes: dict[Setup, Outcome]) -> Table:
    table = Table("fault", *(setup.name for setup in outcomes), title="Faults")
    counts = [Counter(strike.kind for strike in outcome.strikes) for outcome in outcomes.values()]
    for kind in sorted({kind for count in counts for kind in count}):
        table.add_row(kind.replace("_", " "), *(str(count[kind]) for count in counts))
    table.add_row("all", *(str(sum(count.values())) for count in counts), style="bold")
    return table


def _verdict_table(outcomes: dict[Setup, Outcome]) -> Table:
    table = Table("", *(setup.name for setup in outcomes), title="What WhatsApp has, against what Truetick says")
    verdicts = [outcome.verdict for outcome in outcomes.values()]

    def row(name: str, *values: object, broken: bool = False) -> None:
        table.add_row(name, *map(str, values), style="red" if broken else None)

    def promise(name: str, broken: Broken) -> None:
        counts = [verdict.count(broken) for verdict in verdicts]
        row(name, *counts, broken=any(counts))

    row("messages stored", *(v.messages for v in verdicts))
    row("  ticked by WhatsApp", *(v.sent for v in verdicts))
    row("  failed with a reason", *(v.failed for v in verdicts))
    row("  left to a person (WhatsApp has)", *(f"{v.held} ({v.held_but_arrived})" for v in verdicts))
    row("tasks lost by the emptied broker", *(v.lost_by_broker for v in verdicts))
    promise("lost", Broken.LOST)
    promise("called sent, not at WhatsApp", Broken.FALSE_SENT)
    promise("called failed, but at WhatsApp", Broken.FALSE_FAILED)
    row("duplicates by policy (excused)", *(v.excused_duplicates for v in verdicts))
    promise("duplicates (unexcused)", Broken.DUPLICATE)
    promise("out of order", Broken.ORDER)
    promise("over the limit", Broken.LIMIT)
    promise("histories with gaps or steps back", Broken.HISTORY)
    promise("unfinished, nobody told", Broken.UNFINISHED)
    promise("at WhatsApp, never enqueued", Broken.STRANGER)
    promise("processes that ended by themselves", Broken.DIED)
    promise("hostile webhooks not refused", Broken.HOSTILE)
    row("time to notice mute (median, most)", *(_noticed(v) for v in verdicts))
    promise("mute spells that nobody noticed", Broken.UNNOTICED)
    row("most messages at risk (ledger, audit)", *(f"{v.most_endangered}, {v.most_at_risk}" for v in verdicts))
    promise("outages with more at risk than allowed", Broken.AT_RISK)
    row("minutes", *(f"{outcome.seconds / 60:.1f}" for outcome in outcomes.values()))
    return table


def _noticed(verdict: Verdict) -> str:
    times = sorted(verdict.noticed_after_s)
    if not times:
        return f"none of {verdict.mutes} spells"
    return f"{times[len(times) // 2]:.1f} s, {times[-1]:.1f} s ({len(times)} of {verdict.mutes} spells)"


if __name__ == "__main__":
    typer.run(main)
