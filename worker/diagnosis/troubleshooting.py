"""The guide, narrowed to what is wrong now: the most urgent first, each with the evidence that led there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.diagnosis.finding import Diagnosis, Finding, Verdict, iso
from worker.diagnosis.guide import CONSEQUENCES, GUIDE, Entry, entry_for

#: What would show trouble, for the day on which there is none.
WATCH = (
    "truetick check, and GET /api/whatsapp/diagnostics: any check that is not ok",
    "GET /api/whatsapp/status: all_flowing is false, or a channel is unverified",
    "truetick outages --open: an outage that goes on",
    "alerts by TRUETICK_ALERT_URLS, which tell people by themselves",
)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One entry of the guide that applies now."""

    entry: Entry
    urgency: int
    #: The findings that led to it.
    findings: Sequence[Finding]

    @property
    def failed(self) -> bool:
        return any(finding.verdict is Verdict.FAILED for finding in self.findings)

    @property
    def steps(self) -> tuple[str, ...]:
        names = list(dict.fromkeys(finding.channel for finding in self.findings if finding.channel))
        return tuple(step.replace("{name}", names[0] if len(names) == 1 else "NAME") for step in self.entry.steps)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.entry.title,
            "verdict": (Verdict.FAILED if self.failed else Verdict.UNVERIFIED).value,
            "channels": sorted({finding.channel for finding in self.findings if finding.channel}),
            "what_happens": self.entry.what_happens,
            "evidence": list(dict.fromkeys(finding.evidence for finding in self.findings)),
            "steps": list(self.steps),
        }


def troubleshoot(diagnosis: Diagnosis) -> list[Advice]:
    """What applies now: what failed before what is not known, and each in the guide's order."""
    found: dict[int, list[Finding]] = {}
    for finding in diagnosis.findings:
        if finding.verdict in {Verdict.FAILED, Verdict.UNVERIFIED} and finding.code not in CONSEQUENCES:
            place, _ = entry_for(finding.check, finding.code)
            found.setdefault(place, []).append(finding)
    advice = [Advice(entry=GUIDE[place], urgency=place, findings=some) for place, some in found.items()]
    return sorted(advice, key=lambda one: (not one.failed, one.urgency))


def as_json(diagnosis: Diagnosis, advice: Sequence[Advice], *, whole_guide: bool = False) -> dict[str, Any]:
    """The answer of `GET /api/whatsapp/troubleshoot`."""
    return {
        "all_well": not advice,
        "proven": diagnosis.proven,
        "summary": _summary(diagnosis, advice),
        "checked_at": iso(diagnosis.at),
        "problems": [one.as_json() for one in advice],
        "watch": list(WATCH),
        **({"guide": [_whole(entry) for entry in GUIDE]} if whole_guide else {}),
    }


def _summary(diagnosis: Diagnosis, advice: Sequence[Advice]) -> str:
    if not advice:
        return f"All is well. {diagnosis.summary} What would show trouble stands under `watch`."
    first = f"Begin with: {advice[0].entry.title}."
    return f"{diagnosis.summary} {first}" if len(advice) > 1 else f"{diagnosis.summary} {advice[0].entry.title}."


def _whole(entry: Entry) -> dict[str, Any]:
    return {"title": entry.title, "what_happens": entry.what_happens, "steps": list(entry.steps)}
