"""Stored transitions must lead, step by step and lawfully, from nothing to the state a message is in. Pure."""

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.evidence import Evidence, Step
from worker.domain.message_status import TRANSITIONS, MessageState

#: What WhatsApp has ticked stays ticked: a status that the CRM has seen only moves up this ladder.
LADDER = {"sent": 1, "delivered": 2, "read": 3}


def broken_histories(evidence: Evidence) -> Iterator[tuple[int, str]]:
    """Messages (seq) whose history is broken, and how."""
    steps: defaultdict[int, list[Step]] = defaultdict(list)
    for step in evidence.steps:
        steps[step.seq].append(step)
    for message in evidence.messages:
        if what := _broken(steps[message.seq], message.state):
            told = " ".join(f"{step.before}>{step.after}({step.source}:{step.reason})" for step in steps[message.seq])
            yield message.seq, f"message {message.seq} ({message.text!r}): {what}: {told}"


def _broken(steps: list[Step], state: str) -> str | None:
    at: str | None = None
    for step in steps:
        if step.before != at:
            return f"a gap: it was {at} when it moved from {step.before}"
        if at is not None and not _lawful(at, step.after):
            return f"from {at} to {step.after}"
        at = step.after
    return None if at == state else f"the last event says {at}, the message {state}"


def _lawful(before: str, after: str) -> bool:
    if before in LADDER and LADDER.get(after, 0) < LADDER[before]:
        return False
    return before == after or MessageState(after) in TRANSITIONS[MessageState(before)]
