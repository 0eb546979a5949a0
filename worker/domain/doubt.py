"""What becomes of a message whose fate is open: in doubt after an attempt without an answer, or accepted and never
ticked around an outage. Evidence decides first, the message's policy second, a person third. Pure.
"""

from dataclasses import dataclass
from enum import StrEnum

#: After so many attempts without an answer, each proven to have left no message, it is given up.
MOST_DOUBTS = 3
#: How often a message is sent again by policy.
MOST_RESENDS = 1


class Verdict(StrEnum):
    """What WaSender's message logs say about an attempt without an answer."""

    FOUND = "found"
    #: Found, and WaSender itself failed to send it.
    FOUND_FAILED = "found_failed"
    ABSENT = "absent"
    #: Nothing is proven, but a later look may prove it.
    NOT_YET = "not_yet"
    NO_PROOF = "no_proof"
    #: Something like it was found, so it is not sent again, but nothing can be adopted.
    UNCLEAR = "unclear"


class Decision(StrEnum):
    #: It was accepted: its tick is waited for.
    ADOPT = "adopt"
    FAIL = "fail"
    #: WaSender never had it: back to its place in the queue.
    REQUEUE = "requeue"
    #: Send it again, because the policy says so.
    RESEND = "resend"
    #: Keep it, and tell a person.
    HOLD = "hold"
    WAIT = "wait"


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A message in doubt. `settled`: its channel has been up for the settle time, and so long has it been in doubt,
    so that a webhook about it would have come."""

    policy: str
    doubts: int
    resends: int
    settled: bool
    #: Somebody sent a later message to this recipient, so sending this one again would turn their order round.
    overtaken: bool = False


def decide_doubt(doubt: Doubt, verdict: Verdict) -> Decision:
    if verdict is Verdict.FOUND:
        return Decision.ADOPT
    if verdict is Verdict.FOUND_FAILED:
        return Decision.FAIL
    if verdict is Verdict.ABSENT:
        if doubt.doubts >= MOST_DOUBTS:
            return Decision.FAIL
        return Decision.HOLD if doubt.overtaken else Decision.REQUEUE
    if verdict is Verdict.NOT_YET or not doubt.settled:
        return Decision.WAIT
    if verdict is Verdict.UNCLEAR:
        return Decision.HOLD
    may_resend = doubt.policy == "resend" and doubt.resends < MOST_RESENDS and not doubt.overtaken
    return Decision.RESEND if may_resend else Decision.HOLD


@dataclass(frozen=True, kw_only=True)
class Swallowed:
    """An accepted message without a tick whose channel was down or mute since it was accepted."""

    policy: str
    resends: int
    #: Its channel has been up for the settle time and for as long as ticks may take; WaSender was asked after that.
    settled: bool
    overtaken: bool
    #: A later message to the same recipient is just as open.
    later_open: bool
    #: WaSender says that it failed to send it.
    failed: bool = False


def decide_swallowed(message: Swallowed) -> Decision:
    if not message.settled:
        return Decision.WAIT
    if message.policy != "resend" or message.resends >= MOST_RESENDS or message.overtaken:
        return Decision.FAIL if message.failed else Decision.HOLD
    return Decision.WAIT if message.later_open else Decision.RESEND
