"""Judges whether a channel really sends. WaSender's word never suffices: only WhatsApp's tick proves it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.diagnosis.facts import Facts, Subject, Trouble
from worker.diagnosis.finding import ChannelVerdict, Finding, Verdict
from worker.domain.channel_state import KEY_ROTATION, NO_API_KEY, ChannelState, remedy, state_after_report
from worker.domain.durations import lasting
from worker.domain.evidence import Connection

V = Verdict

#: A tick of a message that is older than this proves nothing any more.
PROOF_WITHIN = timedelta(hours=24)
_PROVE_IT = "Prove it with a test message to a phone of your own: truetick check --channel {name} --test-to NUMBER"


def sending_proven(subject: Subject, facts: Facts, *, within: timedelta) -> Finding:
    """The first reason to doubt decides; only where there is none does a tick of lately prove it."""
    return (
        _no_reason_to_look(subject, facts)
        or _stopped(subject, facts)
        or _silent(subject, facts)
        or _ticked(subject, facts, within)
    )


def verdicts(findings: Sequence[Finding]) -> list[ChannelVerdict]:
    return [
        ChannelVerdict(name=finding.channel or "", verdict=finding.verdict, says=finding.evidence)
        for finding in findings
        if finding.check == "sending_proven"
    ]


def _no_reason_to_look(subject: Subject, facts: Facts) -> Finding | None:
    if subject.keyless and subject.waiting:
        advice = remedy(ChannelState.BLOCKED, NO_API_KEY, subject.name)
        said = f"It has no API key to send with, and {subject.what_waits}."
        return _finding(V.FAILED, NO_API_KEY, said, subject, advice)
    if subject.keyless:
        return _finding(V.SKIPPED, NO_API_KEY, "It has no API key, so it cannot send.", subject)
    if isinstance(facts.database, Trouble):
        said = "Ticks are kept in the database, which cannot be read."
        return _finding(V.UNVERIFIED, "database", said, subject, "Mend the database first: see its own check.")
    if subject.facts is None or subject.state is ChannelState.UNKNOWN:
        said = "No worker has looked after this channel yet."
        return _finding(V.UNVERIFIED, "unknown", said, subject, remedy(ChannelState.UNKNOWN, "", subject.name))
    return None


def _stopped(subject: Subject, facts: Facts) -> Finding | None:
    """It does not send at present, by WaSender's own word, by a person's, or by what workers have seen."""
    assert subject.facts is not None
    standing, report = subject.facts.standing, subject.sounding.report if subject.sounding else None
    since = lasting(facts.now - standing.since)
    if standing.state is ChannelState.PAUSED:
        code, said = "paused", f"A person paused the channel {since} ago."
        if standing.reason == KEY_ROTATION:
            code, said = KEY_ROTATION, f"The channel rests while its key is replaced, for {since} by now."
        return _finding(V.FAILED, code, said, subject, standing.action)
    if report is not None and report.connection in {Connection.NOT_CONNECTED, Connection.REFUSED}:
        state = ChannelState.DOWN if report.connection is Connection.NOT_CONNECTED else ChannelState.BLOCKED
        said = f"Nothing can go out: WaSender says {report.word}, asked just now."
        return _finding(V.FAILED, report.word, said, subject, remedy(state, report.word, subject.name))
    if standing.state is ChannelState.MUTE:
        silent = lasting(facts.now - _silent_since(subject, facts))
        said = f"WaSender says connected, but for {silent} WhatsApp has ticked nothing ({standing.reason or 'mute'})."
        advice = f"{standing.action} Single messages are tried meanwhile; the first tick ends it."
        return _finding(V.FAILED, standing.reason or "no_ticks", said, subject, advice)
    if standing.state in {ChannelState.DOWN, ChannelState.BLOCKED}:
        return _out_of_service(subject, facts)
    return None


def _silent_since(subject: Subject, facts: Facts) -> datetime:
    """When the outage began, or WhatsApp's last tick if that came later. A session that was away in between has made
    the channel's state new, and not the silence."""
    assert subject.facts is not None
    standing = subject.facts.standing
    outages = {} if isinstance(facts.database, Trouble) else facts.database.outages
    _, began_at = outages.get(subject.name, ("", standing.since))
    return max(began_at, standing.last_tick_at or began_at)


def _out_of_service(subject: Subject, facts: Facts) -> Finding:
    assert subject.facts is not None
    standing = subject.facts.standing
    since = lasting(facts.now - standing.since)
    report = subject.sounding.report if subject.sounding else None
    after = None
    if report is not None:
        after = state_after_report(standing.state, standing.reason, standing.since, report, facts.now)
    if after is not None and after.state is ChannelState.UP:
        said = (
            f"The workers took it for {standing.state} ({standing.reason}) {since} ago; WaSender says connected now. "
            "They ask again by themselves, and then let one message out."
        )
        return _finding(V.UNVERIFIED, "coming_back", said, subject, "Wait a minute, then check again.")
    said = f"The channel has been {standing.state} ({standing.reason}) for {since}."
    verdict = V.FAILED if standing.verified else V.UNVERIFIED
    return _finding(verdict, standing.reason or standing.state.value, said, subject, standing.action, by_worker=True)


def _silent(subject: Subject, facts: Facts) -> Finding | None:
    """It calls itself up, but there is reason to doubt that messages go out."""
    assert subject.facts is not None
    standing, silence = subject.facts.standing, subject.facts.silence
    if not standing.verified:
        last = f"{lasting(facts.now - standing.checked_at)} ago" if standing.checked_at else "never"
        said = f"It was up when a worker last had an answer from WaSender about it: {last}. That is too old to trust."
        return _finding(V.UNVERIFIED, "stale", said, subject, standing.action, by_worker=True)
    if subject.facts.row.refused_since is not None:
        for_long = lasting(facts.now - subject.facts.row.refused_since)
        said = f"WaSender says connected, but has refused every message as not connected for {for_long}."
        return _finding(V.FAILED, "refuses_sends", said, subject, remedy(ChannelState.MUTE, "", subject.name))
    if standing.held_up:
        advice = "Nothing, if that is expected; it goes on by itself. If it lasts: truetick status"
        return _finding(V.FAILED, "not_flowing", standing.note or "Sending rests.", subject, advice)
    if silence is not None and silence.overdue_recipients:
        oldest = lasting(timedelta(seconds=silence.oldest_s))
        said = (
            f"{_messages(silence.outstanding)} handed to WaSender without WhatsApp's tick, the oldest {oldest} ago. "
            "That may be its recipient's phone alone; Truetick is finding out."
        )
        return _finding(V.UNVERIFIED, "awaiting_tick", said, subject, _prove_it(subject))
    return None


def _ticked(subject: Subject, facts: Facts, within: timedelta) -> Finding:
    assert subject.facts is not None
    standing, at = subject.facts.standing, subject.facts.proven_at
    if at is not None and facts.now - at <= within:
        said = f"WhatsApp has ticked a message that was handed over {lasting(facts.now - at)} ago."
        return Finding(
            check="sending_proven",
            verdict=V.OK,
            code="ticked",
            evidence=said,
            channel=subject.name,
            evidence_at=at,
        )
    if at is not None:
        said = (
            f"The latest message that WhatsApp has ticked was handed over {lasting(facts.now - at)} ago. "
            "Nothing speaks against it since, but nothing proves it."
        )
        return _finding(V.UNVERIFIED, "old_proof", said, subject, _prove_it(subject))
    said = (
        f"It has been up for {lasting(facts.now - standing.since)} by WaSender's word alone: WhatsApp has not ticked "
        "anything of it since."
    )
    return _finding(V.UNVERIFIED, "never_proven", said, subject, _prove_it(subject))


def _finding(
    verdict: Verdict, code: str, said: str, subject: Subject, advice: str | None = None, *, by_worker: bool = False
) -> Finding:
    return Finding(
        check="sending_proven",
        verdict=verdict,
        code=code,
        evidence=said,
        remedy=advice,
        channel=subject.name,
        evidence_at=subject.facts.standing.checked_at if by_worker and subject.facts else None,
    )


def _prove_it(subject: Subject) -> str:
    return _PROVE_IT.format(name=subject.name)


def _messages(count: int) -> str:
    return "One message was" if count == 1 else f"{count} messages were"
