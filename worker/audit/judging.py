"""Judges beliefs: which entry of the ledger a belief is about, and whether it is true. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.audit.belief import Belief
from worker.domain.message_status import TICKED_STATES
from worker.outbox.ledger import Entry

_TICKED = tuple(state.value for state in TICKED_STATES)
_ORDER = ("pending", *_TICKED)


class Finding(StrEnum):
    """What came of one row."""

    AGREES = "agrees"
    #: The CRM says sent or better, and WhatsApp has never ticked it.
    FALSE_SENT = "false_sent"
    #: The ledger says further, less or something else, or it is about another recipient or text.
    CONTRADICTED = "contradicted"
    #: The ledger has no such message.
    MISSING = "missing"
    #: Several messages fit, and what they say differs.
    AMBIGUOUS = "ambiguous"
    #: The row says nothing that could be checked.
    UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """`detail` tells machines what exactly; `entry` is the message it is about, where there is one."""

    finding: Finding
    detail: str = ""
    entry: Entry | None = None


class Claimed:
    """Which entries are spoken for already, in a bit for each. Two rows cannot both be about one message."""

    _PAGE = 1 << 16

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, seq: int) -> None:
        page, place = divmod(seq, self._PAGE)
        self._pages.setdefault(page, bytearray(self._PAGE // 8))[place // 8] |= 1 << (place % 8)

    def __contains__(self, seq: int) -> bool:
        page, place = divmod(seq, self._PAGE)
        bits = self._pages.get(page)
        return bits is not None and bool(bits[place // 8] & 1 << (place % 8))


def judge_named(belief: Belief, entries: Sequence[Entry], *, is_coarse: bool) -> Judgement:
    """Judge a belief by the messages that have its id or reference; there is at least one."""
    fitting = [entry for entry in entries if _differs(belief, entry) is None] or list(entries)
    return _judge(belief, _chosen(belief, fitting), is_coarse=is_coarse)


def judge_likely(
    belief: Belief, entries: Sequence[Entry], claimed: Claimed, window: timedelta, *, is_coarse: bool
) -> Judgement:
    """Judge a belief without an id by the messages to its recipient, with its text, about its time."""
    fitting = [
        entry
        for entry in entries
        if entry.recipient == belief.recipient
        and _differs(belief, entry) is None
        and (belief.at is None or _distance(belief.at, entry) <= window)
    ]
    free = [entry for entry in fitting if entry.seq not in claimed]
    if not free:
        return Judgement(finding=Finding.MISSING, detail="told_twice" if fitting else "")
    return _judge(belief, _chosen(belief, free), is_coarse=is_coarse)


def _judge(belief: Belief, entry: Entry | None, *, is_coarse: bool) -> Judgement:
    if entry is None:
        return Judgement(finding=Finding.AMBIGUOUS)
    if difference := _differs(belief, entry):
        return Judgement(finding=Finding.CONTRADICTED, detail=difference, entry=entry)
    if belief.status == entry.status or (is_coarse and belief.status == "sent" and entry.status in _TICKED):
        return Judgement(finding=Finding.AGREES, entry=entry)
    if belief.status in _TICKED and entry.status not in _TICKED:
        return Judgement(finding=Finding.FALSE_SENT, detail=entry.error_code or entry.state.value, entry=entry)
    both = (belief.status, entry.status)
    is_further = all(one in _ORDER for one in both) and _ORDER.index(both[1]) > _ORDER.index(both[0])
    return Judgement(finding=Finding.CONTRADICTED, detail="further" if is_further else "other", entry=entry)


def _differs(belief: Belief, entry: Entry) -> str | None:
    if belief.recipient and entry.recipient and belief.recipient != entry.recipient:
        return "other_recipient"
    if belief.text_digest and entry.text_digest and belief.text_digest != entry.text_digest:
        return "other_text"
    return None


def _chosen(belief: Belief, entries: Sequence[Entry]) -> Entry | None:
    """The entry that is clearly nearest in time; any, where all of them say the same; None where nobody can tell."""
    ranked = sorted(entries, key=lambda entry: (_distance(belief.at, entry), entry.seq))
    if len({entry.status for entry in entries}) == 1:
        return ranked[0]
    if belief.at is None:
        return None
    nearest, next_one = (_distance(belief.at, entry) for entry in ranked[:2])
    return ranked[0] if nearest * 2 < next_one else None


def _distance(at: datetime | None, entry: Entry) -> timedelta:
    """How far a time is from the time in which a message was under way."""
    if at is None:
        return timedelta()
    return max(entry.created_at - at, at - entry.gone_at, timedelta())
