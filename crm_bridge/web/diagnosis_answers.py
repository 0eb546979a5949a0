"""The shapes of what diagnostics, troubleshooting and test messages answer."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

Verdict = Literal["ok", "failed", "unverified", "skipped"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Finding(_Shape):
    """One check's result: what is known (`evidence`, and how old that is) and what to do (`remedy`)."""

    check: str
    title: str
    channel: str | None
    verdict: Verdict
    code: str
    evidence: str
    evidence_at: datetime
    evidence_age_s: float
    remedy: str | None


class ChannelVerdict(_Shape):
    """Is sending proven on this channel?"""

    name: str
    verdict: Verdict
    evidence: str


class Diagnostics(_Shape):
    """`proven`: on every channel with a key WhatsApp has ticked a message lately, and nothing contradicts that since.

    Of more than twenty channels only the worst twenty stand in `checks`; `channels` names all.
    """

    proven: bool
    summary: str
    checked_at: datetime
    took_s: float
    channels: list[ChannelVerdict]
    checks: list[Finding]
    channels_left_out: int


class Advice(_Shape):
    """Something that is wrong (or not known), what happens because of it, and what to do, step by step."""

    title: str
    verdict: Literal["failed", "unverified"]
    channels: list[str]
    what_happens: str
    evidence: list[str]
    steps: list[str]


class GuideEntry(_Shape):
    title: str
    what_happens: str
    steps: list[str]


class Troubleshooting(_Shape):
    """What is wrong now, the most urgent first. `watch` says what would show trouble."""

    all_well: bool
    proven: bool
    summary: str
    checked_at: datetime
    problems: list[Advice]
    watch: list[str]
    guide: list[GuideEntry] = []


class Stage(_Shape):
    stage: Literal["understood", "stored", "claimed", "accepted", "ticked", "delivered"]
    title: str
    reached: bool
    at: datetime | None
    after_s: float | None


class TestResult(_Shape):
    """How far a test message came. `proven` is true only with WhatsApp's tick."""

    __test__ = False  # for pytest: it is no test

    message_id: UUID
    channel: str
    proven: bool
    summary: str
    status: Literal["pending", "sent", "delivered", "read", "failed", "expired", "cancelled"]
    stands_at: Literal["stored", "claimed", "accepted", "ticked", "delivered"]
    stages: list[Stage]
    because: list[str]
    whose_turn: str
    action: str | None
    followed_s: float
