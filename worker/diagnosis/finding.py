"""What a diagnosis consists of: findings, with evidence and remedy, in the order in which trouble is best sought.

A finding is never green by default: what is not known is `unverified`, and so is what rests on evidence that is old.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    OK = "ok"
    FAILED = "failed"
    #: Not known, or known from evidence that is too old.
    UNVERIFIED = "unverified"
    #: Not asked, for a reason that stands in the evidence.
    SKIPPED = "skipped"


#: The checks by name, in the order in which trouble is best sought.
TITLES = {
    "api_reachable": "WaSender's API answers",
    "api_key": "The API key is valid, and of the right kind",
    "access_token": "The personal access token is valid",
    "session_connected": "The WhatsApp session is connected, by WaSender's word",
    "sending_proven": "Messages go out: WhatsApp ticks them",
    "number_format": "Phone numbers are understood",
    "webhooks": "Webhooks arrive",
    "message_logging": "WaSender logs messages",
    "limits": "The pace keeps WaSender's limits",
    "clock": "The clocks agree",
    "queue": "The broker takes tasks, and they do not pile up",
    "workers": "Workers are alive",
    "beat": "Channels are checked on schedule",
    "database": "The database answers, and is migrated",
    "backlog": "Nothing is stuck",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check's result. `code` is stable and names the case; `evidence` and `remedy` are sentences for people."""

    check: str
    verdict: Verdict
    code: str
    evidence: str
    #: What to do; None where nothing needs doing.
    remedy: str | None = None
    #: None: it is about the whole installation.
    channel: str | None = None
    #: When the evidence was gathered, if that is not just now.
    evidence_at: datetime | None = None

    @property
    def title(self) -> str:
        return TITLES[self.check]

    def as_json(self, now: datetime) -> dict[str, Any]:
        at = min(self.evidence_at or now, now)
        return {
            "check": self.check,
            "title": self.title,
            "channel": self.channel,
            "verdict": self.verdict.value,
            "code": self.code,
            "evidence": self.evidence,
            "evidence_at": iso(at),
            "evidence_age_s": round((now - at).total_seconds(), 1),
            "remedy": self.remedy,
        }


@dataclass(frozen=True, kw_only=True)
class ChannelVerdict:
    """Is sending proven on this channel? Only a tick can prove it."""

    name: str
    verdict: Verdict
    says: str

    @property
    def used(self) -> bool:
        """Has it a key, or do messages wait for one, so that it is expected to send?"""
        return self.verdict is not Verdict.SKIPPED


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All findings, in the order of `TITLES`, then by channel."""

    at: datetime
    took_s: float
    channels: Sequence[ChannelVerdict]
    findings: Sequence[Finding]
    #: How many channels have their findings left out, because there are many: those that are well before others.
    left_out: int = 0

    @property
    def proven(self) -> bool:
        """Is sending proven on every channel that is used? False when there is none."""
        used = [channel for channel in self.channels if channel.used]
        return bool(used) and all(channel.verdict is Verdict.OK for channel in used)

    @property
    def summary(self) -> str:
        used = [channel for channel in self.channels if channel.used]
        failed = dict.fromkeys(finding.check for finding in self.findings if finding.verdict is Verdict.FAILED)
        besides = f" Failed all the same: {', '.join(failed)}." if failed else ""
        if not used:
            return "Sending is not proven: no channel with an API key was found."
        unproven = [channel for channel in used if channel.verdict is not Verdict.OK]
        if not unproven:
            on = f"channel {used[0].name}" if len(used) == 1 else f"all {len(used)} channels"
            return f"Sending is proven on {on}.{besides}"
        named = ", ".join(channel.name for channel in unproven[:5]) + (", …" if len(unproven) > 5 else "")
        if len(used) == 1:
            return f"Sending is not proven on channel {named}."
        return f"Sending is not proven on {len(unproven)} of {len(used)} channels: {named}."

    def as_json(self) -> dict[str, Any]:
        """The answer of `GET /api/whatsapp/diagnostics` and of `truetick check --json`."""
        return {
            "proven": self.proven,
            "summary": self.summary,
            "checked_at": iso(self.at),
            "took_s": round(self.took_s, 2),
            "channels": [
                {"name": one.name, "verdict": one.verdict.value, "evidence": one.says} for one in self.channels
            ],
            "checks": [finding.as_json(self.at) for finding in self.findings],
            "channels_left_out": self.left_out,
        }


def general(check: str, verdict: Verdict, code: str, evidence: str, advice: str | None = None) -> Finding:
    """A finding about the whole installation; advice is kept only where something is amiss."""
    amiss = verdict in {Verdict.FAILED, Verdict.UNVERIFIED}
    return Finding(check=check, verdict=verdict, code=code, evidence=evidence, remedy=advice if amiss else None)


def on(channel: str, check: str, verdict: Verdict, code: str, evidence: str, advice: str | None = None) -> Finding:
    """The same about one channel."""
    return replace(general(check, verdict, code, evidence, advice), channel=channel)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    order = {name: place for place, name in enumerate(TITLES)}
    return sorted(findings, key=lambda finding: (order[finding.check], finding.channel or ""))


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
