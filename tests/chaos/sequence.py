"""The order in which one recipient gets messages of one rank: the order in which they came to the queue. Pure."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.evidence import Evidence, Step, Stored
from wasender_sandbox.records import LedgerEntry

#: A claim is stored with the time at which its transaction began, and POSTed later: never the other way round.
CLOCK_BLUR_S = 0.05


def overtaken(evidence: Evidence) -> Iterator[tuple[Stored, Stored]]:
    """Pairs (later, earlier): the later one reached WhatsApp first, though the earlier one was there to be sent.

    A message counts from the first of its copies that WhatsApp has. One that came to the queue only after the other
    had been claimed cannot have been overtaken, whatever its place.
    """
    firsts = _first_copies(evidence)
    claims, stored = _claims(evidence), _stored(evidence)
    lines: defaultdict[tuple[str, str | None, int], list[Stored]] = defaultdict(list)
    for message in evidence.messages:
        if message.text in firsts:
            lines[(message.channel, message.recipient, message.rank)].append(message)
    for line in lines.values():
        line.sort(key=lambda message: firsts[message.text].index)
        for position, later in enumerate(line):
            claim = _claim_of(claims[later.seq], firsts[later.text])
            for earlier in line[position + 1 :]:
                if _place(earlier) < _place(later) and _was_there(earlier, stored[earlier.seq], claim):
                    yield later, earlier


def _place(message: Stored) -> tuple[float, int]:
    return message.due_at, message.seq


def _first_copies(evidence: Evidence) -> dict[str, LedgerEntry]:
    firsts: dict[str, LedgerEntry] = {}
    for entry in sorted(evidence.ledger, key=lambda entry: entry.index):
        if entry.acked_at is not None and entry.text is not None:
            firsts.setdefault(entry.text, entry)
    return firsts


def _claims(evidence: Evidence) -> defaultdict[int, list[Step]]:
    claims: defaultdict[int, list[Step]] = defaultdict(list)
    for step in evidence.steps:
        if step.after == "sending":
            claims[step.seq].append(step)
    return claims


def _stored(evidence: Evidence) -> dict[int, Step]:
    return {step.seq: step for step in evidence.steps if step.before is None}


def _claim_of(claims: list[Step], entry: LedgerEntry) -> Step | None:
    """The claim behind that copy: the last one before its POST arrived."""
    place = bisect_right(claims, entry.request_at + CLOCK_BLUR_S, key=lambda step: step.at)
    return claims[place - 1] if place else None


def _was_there(message: Stored, stored: Step | None, claim: Step | None) -> bool:
    if claim is None or stored is None:
        return True
    if message.committed_at is not None:
        return message.committed_at <= claim.at
    return stored.id < claim.id
