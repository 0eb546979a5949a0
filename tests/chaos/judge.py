"""Judges a finished run by the sandbox's ledger: what WhatsApp has, against what Truetick says and what it promised.

Pure. It knows no mercy for faults: whatever went wrong meanwhile, these are the promises.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.evidence import Evidence, Mute, Outage, Stored
from tests.chaos.histories import broken_histories
from tests.chaos.sequence import overtaken
from wasender_sandbox.records import LedgerEntry

TICKED = frozenset({"sent", "delivered", "read"})
#: Over, without WhatsApp having it: each must say why.
GIVEN_UP = frozenset({"failed", "expired", "cancelled"})
#: Two processes read their clocks: a status may seem to be written this much before WhatsApp's tick.
EARLY_S = 0.1
#: Before WaSender's last answer about a message, after which it is sent again: so long an answer may be on its way.
KNOWN_AFTER_S = 5.0
#: The sandbox ticks 0.3 s after it accepted; a message that took longer was held back.
HELD_S = 1.0


class Broken(StrEnum):
    """A promise that was not kept."""

    #: A message that was stored or promised is neither with WhatsApp nor pending, failed or in doubt with a reason.
    LOST = "lost"
    #: Called sent, and WhatsApp does not have it (or did not, when it was called so).
    FALSE_SENT = "false sent"
    #: WhatsApp has it more often than its own policy allowed.
    DUPLICATE = "duplicate"
    #: A later message to the same recipient went first.
    ORDER = "order"
    #: WaSender's rate limit was broken.
    LIMIT = "limit"
    #: Stored transitions with gaps, illegal ones, or a status that went backwards.
    HISTORY = "history"
    #: Still open at the end, with nobody told to look at it.
    UNFINISHED = "unfinished"
    #: Called failed or expired, although WhatsApp has it.
    FALSE_FAILED = "false failed"
    #: WhatsApp got something that nobody enqueued.
    STRANGER = "stranger"
    #: More messages endangered by one outage than the window allows.
    AT_RISK = "at risk"
    #: A mute spell that lasted, on a channel that went on calling itself up.
    UNNOTICED = "unnoticed"
    #: A hostile webhook was taken, or broke the web server.
    HOSTILE = "hostile"
    #: A worker, the beat or the web server ended by itself.
    DIED = "died"


@dataclass(frozen=True, kw_only=True)
class Violation:
    broken: Broken
    what: str
    #: The message it is about, where it is about one.
    seq: int | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    messages: int
    sent: int
    violations: Sequence[Violation]
    excused_duplicates: int
    #: Tasks that the broker had taken and lost when it was emptied.
    lost_by_broker: int
    in_broker: int
    #: Left to a person: in doubt or without a tick, with the reason; and how many of them WhatsApp has.
    held: int
    held_but_arrived: int
    failed: int
    mutes: int
    #: Seconds from a mute spell's beginning to its notice, for each that was noticed.
    noticed_after_s: Sequence[float]
    #: The most messages that one mute spell endangered by the ledger, and one outage by Truetick's own record.
    most_endangered: int
    most_at_risk: int

    def count(self, broken: Broken) -> int:
        return sum(1 for violation in self.violations if violation.broken is broken)

    @property
    def kept(self) -> bool:
        return not self.violations


def judge(evidence: Evidence) -> Verdict:
    copies = _copies(evidence.ledger)
    endangered = list(_endangered(evidence))
    extra = {m.seq: max(len(copies[m.text]) - 1, 0) for m in evidence.messages}
    held = [m for m in evidence.messages if m.state in {"accepted", "in_doubt"} and m.attention]
    violations = [
        *_lost(evidence, copies),
        *_false_sent(evidence, copies),
        *_duplicates(evidence.messages, extra),
        *_needless_resends(evidence, copies),
        *_order(evidence),
        *_limit(evidence),
        *(Violation(broken=Broken.HISTORY, what=what, seq=seq) for seq, what in broken_histories(evidence)),
        *_unfinished(evidence.messages),
        *_false_failed(evidence.messages, copies),
        *_strangers(evidence),
        *_at_risk(evidence, endangered),
        *_unnoticed(evidence),
        *_hostile(evidence),
        *(Violation(broken=Broken.DIED, what=what) for what in evidence.died),
    ]
    missing = _missing_offers(evidence)
    return Verdict(
        messages=len(evidence.messages),
        sent=sum(1 for m in evidence.messages if m.state in TICKED),
        violations=violations,
        excused_duplicates=sum(min(extra[m.seq], m.resends) for m in evidence.messages),
        lost_by_broker=sum(1 for offer, excused in missing if excused),
        in_broker=len(evidence.in_broker),
        held=len(held),
        held_but_arrived=sum(1 for m in held if copies[m.text]),
        failed=sum(1 for m in evidence.messages if m.state in GIVEN_UP),
        mutes=len(evidence.mutes),
        noticed_after_s=sorted(_noticed_after(evidence)),
        most_endangered=max((count for _, count in endangered), default=0),
        most_at_risk=max((count for _, count in _recorded(evidence)), default=0),
    )


def _copies(ledger: Iterable[LedgerEntry]) -> defaultdict[str, list[LedgerEntry]]:
    """What WhatsApp has, by text: texts are unique to a message."""
    copies: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in ledger:
        if entry.acked_at is not None and entry.text is not None:
            copies[entry.text].append(entry)
    return copies


def _missing_offers(evidence: Evidence) -> list[tuple[str, bool]]:
    """Messages that were promised to the CRM and are not stored: the text, and whether it is the broker's own loss.

    A task that was handed over before the broker was emptied went with it. A 202 excuses nothing.
    """
    stored = {message.id for message in evidence.messages}
    last_flush = max(evidence.flushed_at, default=float("-inf"))
    return [
        (offer.text, offer.way == "task" and offer.begun_at <= last_flush)
        for offer in evidence.offers
        if offer.promised and offer.id not in stored and offer.id not in evidence.in_broker
    ]


def _lost(evidence: Evidence, copies: dict[str, list[LedgerEntry]]) -> Iterator[Violation]:
    for text, excused in _missing_offers(evidence):
        if not excused:
            yield Violation(broken=Broken.LOST, what=f"{text!r} was promised to the CRM and never stored")
    offered = {offer.id: offer for offer in evidence.offers}
    for message in evidence.messages:
        if message.id in offered and offered[message.id].text != message.text:
            yield _about(message, Broken.LOST, f"stored with another text: {message.text!r}")
        reasons = {"failed": message.error_code, "expired": "expired", "cancelled": "cancelled"}
        if message.state in GIVEN_UP and not reasons[message.state]:
            yield _about(message, Broken.LOST, "failed without a reason")


def _false_sent(evidence: Evidence, copies: dict[str, list[LedgerEntry]]) -> Iterator[Violation]:
    ticked_at: dict[int, float] = {}
    for step in evidence.steps:
        if step.after in TICKED:
            ticked_at.setdefault(step.seq, step.at)
    for message in evidence.messages:
        entries = copies.get(message.text, [])
        if message.state in TICKED and not entries:
            yield _about(message, Broken.FALSE_SENT, f"{message.state}, and WhatsApp does not have it")
        elif message.seq in ticked_at and entries:
            first = min(entry.acked_at or 0.0 for entry in entries)
            if ticked_at[message.seq] < first - EARLY_S:
                early_s = first - ticked_at[message.seq]
                yield _about(message, Broken.FALSE_SENT, f"called sent {early_s:.1f} s before WhatsApp had it")
        elif message.seq in ticked_at:
            yield _about(message, Broken.FALSE_SENT, "was called sent, and WhatsApp does not have it")


def _duplicates(messages: Iterable[Stored], extra: dict[int, int]) -> Iterator[Violation]:
    for message in messages:
        unexcused = extra[message.seq] - message.resends
        if unexcused > 0:
            what = f"WhatsApp has it {extra[message.seq] + 1} times, resent by policy {message.resends} times"
            yield _about(message, Broken.DUPLICATE, what)


def _needless_resends(evidence: Evidence, copies: dict[str, list[LedgerEntry]]) -> Iterator[Violation]:
    """What was sent again because an outage seemed to have swallowed it, although it could be known better."""
    texts = {message.seq: message.text for message in evidence.messages}
    for step in evidence.steps:
        if step.reason != "resent_after_outage":
            continue
        known_by = step.at - KNOWN_AFTER_S
        if any((entry.acked_at or step.at) < known_by for entry in copies.get(texts[step.seq], ())):
            what = f"message {step.seq} ({texts[step.seq]!r}): sent again although WhatsApp had long ticked it"
            yield Violation(broken=Broken.DUPLICATE, what=what, seq=step.seq)


def _order(evidence: Evidence) -> Iterator[Violation]:
    for later, earlier in overtaken(evidence):
        what = f"reached {later.recipient} after message {later.seq}, which had come to the queue behind it"
        yield _about(earlier, Broken.ORDER, what)


def _limit(evidence: Evidence) -> Iterator[Violation]:
    for _ in range(evidence.rate_violations):
        yield Violation(broken=Broken.LIMIT, what="a POST was answered 429 by the sandbox's own limit")


def _unfinished(messages: Iterable[Stored]) -> Iterator[Violation]:
    for message in messages:
        waiting = message.state in {"accepted", "in_doubt"} and not message.attention
        if message.state in {"queued", "sending"} or waiting:
            yield _about(message, Broken.UNFINISHED, f"still {message.state} at the end")


def _false_failed(messages: Iterable[Stored], copies: dict[str, list[LedgerEntry]]) -> Iterator[Violation]:
    for message in messages:
        if message.state in GIVEN_UP and copies.get(message.text):
            yield _about(message, Broken.FALSE_FAILED, f"{message.state} ({message.error_code}), and WhatsApp has it")


def _strangers(evidence: Evidence) -> Iterator[Violation]:
    known = {message.text for message in evidence.messages}
    strange = Counter(str(entry.text) for entry in evidence.ledger if entry.text not in known)
    for text, count in strange.items():
        yield Violation(
            broken=Broken.STRANGER, what=f"WaSender got {text!r} {count} times; no such message is stored"
        )


def _endangered(evidence: Evidence) -> Iterator[tuple[str, int]]:
    """For each mute spell how many messages it held back: accepted in it or just before, and not ticked at once."""
    for mute in evidence.mutes:
        count = sum(_held_back(entry, mute) for entry in evidence.ledger)
        yield f"the mute spell of {mute.channel} that began at {mute.began_at:.1f}", count


def _recorded(evidence: Evidence) -> Iterator[tuple[str, int]]:
    """For each outage how many messages Truetick itself calls endangered by it.

    What an earlier mute spell had swallowed, too short to be noticed, is open still and on the record; it counts for
    that spell.
    """
    texts = {message.seq: message.text for message in evidence.messages}
    entries: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in evidence.ledger:
        entries[str(entry.text)].append(entry)
    for outage in evidence.outages:
        spells = [m for m in evidence.mutes if m.channel == outage.channel and m.ended_at < outage.noticed_at]

        def counts(seq: int, outage: Outage = outage, spells: Sequence[Mute] = spells) -> bool:
            before = [entry for entry in entries[texts[seq]] if entry.received_at <= outage.noticed_at]
            return not before or not all(any(_held_back(entry, spell) for spell in spells) for entry in before)

        count = sum(1 for seq in outage.at_risk if counts(seq))
        yield f"the outage of {outage.channel} noticed at {outage.noticed_at:.1f}", count


def _at_risk(evidence: Evidence, endangered: Iterable[tuple[str, int]]) -> Iterator[Violation]:
    for what, count in (*endangered, *_recorded(evidence)):
        if count > evidence.most_at_risk:
            yield Violation(broken=Broken.AT_RISK, what=f"{what} endangered {count} messages")


def _held_back(entry: LedgerEntry, mute: Mute) -> bool:
    return (
        entry.channel == mute.channel
        and mute.began_at - HELD_S <= entry.received_at <= mute.ended_at
        and (entry.acked_at is None or entry.acked_at > entry.received_at + HELD_S)
    )


def _noticed_after(evidence: Evidence) -> Iterator[float]:
    for mute in evidence.mutes:
        seen = [
            outage.noticed_at - mute.began_at
            for outage in _outages_during(evidence, mute)
            if outage.state == "mute" and mute.began_at <= outage.noticed_at
        ]
        if seen:
            yield min(seen)


def _outages_during(evidence: Evidence, mute: Mute) -> list[Outage]:
    return [
        outage
        for outage in evidence.outages
        if outage.channel == mute.channel
        and outage.noticed_at <= mute.ended_at + HELD_S
        and (outage.ended_at is None or outage.ended_at > mute.began_at)
    ]


def _unnoticed(evidence: Evidence) -> Iterator[Violation]:
    """Spells in which a message was held back for long enough, nothing disturbed the noticing, and nobody noticed."""
    for mute in evidence.mutes:
        held_since = min((e.received_at for e in evidence.ledger if _held_back(e, mute)), default=mute.ended_at)
        lasted_s = mute.ended_at - held_since
        disturbed = any(d.began_at < mute.ended_at and d.ended_at > held_since for d in evidence.disturbances)
        if lasted_s > evidence.notice_within_s and not disturbed and not _outages_during(evidence, mute):
            what = f"{mute.channel} was mute for {lasted_s:.1f} s with a message held back, and nobody noticed"
            yield Violation(broken=Broken.UNNOTICED, what=what)


def _hostile(evidence: Evidence) -> Iterator[Violation]:
    for status, count in Counter(evidence.hostile_answers).items():
        # 503: the database is away, so nobody can tell whether it is hostile.
        if not 400 <= status < 500 and status != 503:
            what = f"{count} hostile webhooks were answered HTTP {status}"
            yield Violation(broken=Broken.HOSTILE, what=what)


def _about(message: Stored, broken: Broken, what: str) -> Violation:
    return Violation(broken=broken, what=f"message {message.seq} ({message.text!r}): {what}", seq=message.seq)
