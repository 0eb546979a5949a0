"""The diagnosis as a whole: facts that are a few seconds old at the most, and what they mean."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

from worker.diagnosis import (
    judging_gateway,
    judging_proof,
    judging_session,
    judging_setup,
    judging_stack,
    judging_traffic,
)
from worker.diagnosis.broker_line import BrokerLine
from worker.diagnosis.examination import examine
from worker.diagnosis.facts import Facts
from worker.diagnosis.finding import Diagnosis, Finding, Verdict, in_order
from worker.diagnosis.inquiries import Inquiries, NoAnswer
from worker.domain.errors import TruetickError
from worker.parts import Parts

#: So long one examination serves everybody who asks: a dashboard must not hammer WaSender.
KEPT_S = 5.0
#: Nobody waits longer for one; it ends well before.
LONGEST_S = 9.5
#: So many channels have all their findings listed; of more, those that are well are left out first.
MOST_LISTED = 20


class TookTooLong(TruetickError):
    """There is no diagnosis: not even a look at what does not answer came to its end."""

    default_code = "diagnosis_took_too_long"


class Diagnoser:
    """One for each process: it keeps the latest facts. Safe to share between threads."""

    def __init__(self, parts: Parts, line: BrokerLine | None = None, *, kept_s: float = KEPT_S) -> None:
        self._parts = parts
        self._line = line or BrokerLine(parts.settings)
        self._kept_s = kept_s
        self._inquiries = Inquiries()
        self._keeping = threading.Lock()
        #: By the channel that was asked for: when, how long it took, and the facts.
        self._kept: dict[str | None, tuple[float, float, Facts]] = {}

    def diagnose(self, *, channel: str | None = None, within: timedelta = judging_proof.PROOF_WITHIN) -> Diagnosis:
        """All findings, or those about one channel and what it stands on. A tick proves sending for `within`.

        Raises NotFound for a channel that does not exist. Takes ten seconds at the most, whatever hangs; raises
        TookTooLong where this machine itself is too slow for that.
        """
        facts, took_s = self._facts(channel)
        findings = in_order(_judged(facts, within))
        listed, left_out = _listed(findings)
        return Diagnosis(
            at=facts.now,
            took_s=took_s,
            channels=judging_proof.verdicts(findings),
            findings=listed,
            left_out=left_out,
        )

    def _facts(self, channel: str | None) -> tuple[Facts, float]:
        """Whoever asks while they are being gathered waits for the same ones."""
        with self._keeping:
            oldest = time.monotonic() - self._kept_s
            self._kept = {about: kept for about, kept in self._kept.items() if kept[0] > oldest}
            kept = self._kept.get(channel)
        if kept is None:
            examination = self._inquiries.ask(f"examination-{channel or ''}", lambda: self._examine(channel))
            try:
                kept = examination.answer(time.monotonic() + LONGEST_S)
            except NoAnswer:
                raise TookTooLong(
                    f"The diagnosis was not done after {LONGEST_S:g} s: this machine is overloaded. Look at its load."
                ) from None
        _, took_s, facts = kept
        return facts, took_s

    def _examine(self, channel: str | None) -> tuple[float, float, Facts]:
        begun = time.monotonic()
        facts = examine(self._parts, self._line, self._inquiries, channel=channel)
        ended = time.monotonic()
        kept = (ended, ended - begun, facts)
        with self._keeping:
            self._kept[channel] = kept
        return kept


def _judged(facts: Facts, within: timedelta) -> Iterator[Finding]:
    yield judging_gateway.api_reachable(facts)
    yield judging_gateway.access_token(facts)
    yield judging_traffic.number_format(facts)
    yield judging_setup.clock(facts)
    yield judging_stack.queue(facts)
    yield judging_stack.workers(facts)
    yield judging_stack.beat(facts)
    yield judging_stack.database(facts)
    yield judging_stack.backlog(facts)
    for subject in facts.subjects:
        yield judging_gateway.api_key(subject, facts)
        yield judging_session.session_connected(subject, facts)
        yield judging_proof.sending_proven(subject, facts, within=within)
        if not subject.keyless:
            yield judging_traffic.webhooks(subject, facts)
            yield judging_setup.message_logging(subject, facts)
            yield judging_setup.limits(subject, facts)


def _listed(findings: list[Finding]) -> tuple[list[Finding], int]:
    """All of a few channels; of many, those of channels on which something failed, or else is not known."""
    names = {finding.channel for finding in findings if finding.channel is not None}
    if len(names) <= MOST_LISTED:
        return findings, 0
    worst_first = (Verdict.FAILED, Verdict.UNVERIFIED)
    ill = [one.channel for verdict in worst_first for one in findings if one.channel and one.verdict is verdict]
    kept = set(list(dict.fromkeys(ill))[:MOST_LISTED])
    return [one for one in findings if one.channel is None or one.channel in kept], len(names - kept)
