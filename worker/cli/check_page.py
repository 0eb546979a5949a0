"""What `truetick check` shows: one mark for each check, its evidence beside it, and what to do below."""

import time
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.text import Text

from worker.cli import display
from worker.diagnosis.finding import Diagnosis, Finding, Verdict
from worker.diagnosis.stages import Stage
from worker.diagnosis.trial_report import TrialReport
from worker.domain.durations import lasting

_MARKS = {Verdict.OK: "✓", Verdict.FAILED: "✗", Verdict.UNVERIFIED: "?", Verdict.SKIPPED: "–"}
_PLAIN_MARKS = {Verdict.OK: "+", Verdict.FAILED: "X", Verdict.UNVERIFIED: "?", Verdict.SKIPPED: "-"}
_STYLES = {Verdict.OK: "green", Verdict.FAILED: "red", Verdict.UNVERIFIED: "yellow", Verdict.SKIPPED: "dim"}
#: Evidence that is older than this has its age told.
FRESH = timedelta(seconds=2)
_ONE = "See one with: truetick check --channel NAME"


def mark(verdict: Verdict) -> str:
    return (_MARKS if display.takes_unicode() else _PLAIN_MARKS)[verdict]


def show_diagnosis(diagnosis: Diagnosis) -> None:
    for finding in diagnosis.findings:
        _show(finding, diagnosis.at)
    if diagnosis.left_out:
        display.say(f"{diagnosis.left_out} more channels are not listed; the worst are. {_ONE}", style="dim")
    display.say()
    display.say(diagnosis.summary, style="bold green" if diagnosis.proven else "bold red")


def _show(finding: Finding, now: datetime) -> None:
    style = _STYLES[finding.verdict]
    about = f"{finding.channel}: " if finding.channel else ""
    line = Text.assemble((mark(finding.verdict), style), " ", (display.plain(about + finding.title), "bold"))
    display.console().print(line)
    _indented(finding.evidence + _age(finding, now), "dim" if finding.verdict is Verdict.SKIPPED else "")
    if finding.remedy and finding.verdict is not Verdict.OK:
        arrow = "→" if display.takes_unicode() else "->"
        _indented(f"{arrow} {finding.remedy}", "" if finding.verdict is Verdict.SKIPPED else style)


def _age(finding: Finding, now: datetime) -> str:
    if finding.evidence_at is None or now - finding.evidence_at <= FRESH:
        return ""
    return f" (Evidence of {lasting(now - finding.evidence_at)} ago.)"


def _indented(sentence: str, style: str) -> None:
    console = display.console()
    text = Text(display.plain(sentence), style=style)
    for line in text.wrap(console, max(20, console.width - 4)):
        console.print(Text("    ") + line)


def show_trial(report: TrialReport) -> None:
    display.say()
    display.say(report.summary, style="bold green" if report.proven else "bold red")
    for sentence in report.because if report.proven else report.because[1:]:
        display.say(sentence)
    if report.action and not report.proven:
        display.say(f"What to do: {report.action}", style="yellow")
    if not report.proven and str(report.message_id) not in (report.action or ""):
        display.say(f"It can be followed with: truetick why {report.message_id}")


class StageDisplay:
    """Shows the stages of a test message as they are reached: redrawn on a terminal, line by line elsewhere."""

    def __init__(self, timeout_s: float) -> None:
        self._begun = time.monotonic()
        self._timeout_s = timeout_s
        self._stages: tuple[Stage, ...] = ()
        self._told: set[str] = set()
        console = display.console()
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=4, auto_refresh=True)
        self._redraws = console.is_terminal

    def __enter__(self) -> Self:
        display.say()
        display.say("Test message", style="bold")
        if self._redraws:
            self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._redraws:
            self._live.stop()
        elif error is None:
            for stage in self._stages:
                if not stage.reached:
                    display.console().print(_line(stage))

    def show(self, stages: tuple[Stage, ...]) -> None:
        self._stages = stages
        if self._redraws:
            self._live.refresh()
            return
        for stage in stages:
            if stage.reached and stage.name not in self._told:
                self._told.add(stage.name)
                display.console().print(_line(stage))

    def _drawn(self) -> Text:
        drawn = Text("\n").join(_line(stage) for stage in self._stages)
        waited = time.monotonic() - self._begun
        if self._stages and not self._stages[-1].reached:
            drawn.append(f"\n  {waited:.0f} s of {self._timeout_s:g} s", style="dim")
        return drawn


def _line(stage: Stage) -> Text:
    verdict = Verdict.OK if stage.reached else Verdict.UNVERIFIED
    when = f" after {stage.after_s:.1f} s" if stage.after_s is not None else ""
    return Text.assemble((mark(verdict), _STYLES[verdict]), f" {stage.title}", (when, "dim"))
