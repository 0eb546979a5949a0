"""Judges whether the session is connected by WaSender's own word, which is a hint and no proof."""

from worker.diagnosis.facts import Facts, Subject
from worker.diagnosis.finding import Finding, Verdict
from worker.domain.channel_state import KEY_ROTATION, ChannelState, remedy
from worker.domain.durations import lasting
from worker.domain.evidence import Connection

V = Verdict

_OTHERS = "See the other checks: WaSender has to be reachable, and a worker has to run."
_ITS_WORD = "That alone proves nothing: see the next check."


def session_connected(subject: Subject, facts: Facts) -> Finding:
    report = subject.sounding.report if subject.sounding else None
    if subject.keyless:
        return _session(V.SKIPPED, "no_api_key", "Without an API key nobody can ask.", subject)
    if report is not None and report.connection is Connection.CONNECTED:
        said = f"WaSender says connected, asked just now. {_ITS_WORD}"
        return _session(V.OK, "connected", said, subject)
    if report is not None and report.connection is Connection.NOT_CONNECTED:
        said = f"WaSender says {report.word}, asked just now."
        return _session(V.FAILED, report.word, said, subject, remedy(ChannelState.DOWN, report.word, subject.name))
    if report is not None and report.connection is Connection.REFUSED:
        said = "WaSender refuses the key, so it does not tell."
        return _session(V.UNVERIFIED, "key_refused", said, subject, "Mend the key first: see its own check.")
    return _by_worker(subject, facts)


def _by_worker(subject: Subject, facts: Facts) -> Finding:
    """What a worker was told lately, where nobody could be asked just now."""
    at, state = subject.verified_at, subject.state
    if subject.facts is None or state in {None, ChannelState.UNKNOWN} or at is None:
        advice: str | None = (subject.facts.standing.action if subject.facts else None) or _OTHERS
        said = "Nobody has had an answer from WaSender about it lately."
        return _session(V.UNVERIFIED, "stale", said, subject, advice)
    ago, reason = lasting(facts.now - at), subject.facts.standing.reason
    if state in {ChannelState.UP, ChannelState.MUTE}:
        said = (
            f"WaSender told a worker {ago} ago that it is connected. That alone proves nothing: see the next check."
        )
        return _session(V.OK, "connected", said, subject, at_worker=True)
    if state is ChannelState.DOWN:
        said = f"WaSender told a worker {ago} ago: {reason}."
        advice = remedy(state, reason, subject.name)
        return _session(V.FAILED, reason, said, subject, advice, at_worker=True)
    if state is ChannelState.BLOCKED:
        said = f"The channel is blocked ({reason}), so whether its session is connected is not known."
        return _session(V.UNVERIFIED, "key_refused", said, subject, "Mend that first: see the check of the API key.")
    said = f"The channel is {state}, so nobody has asked."
    code = KEY_ROTATION if reason == KEY_ROTATION else ChannelState.PAUSED.value
    return _session(V.UNVERIFIED, code, said, subject, subject.facts.standing.action)


def _session(
    verdict: Verdict, code: str, said: str, subject: Subject, advice: str | None = None, *, at_worker: bool = False
) -> Finding:
    return Finding(
        check="session_connected",
        verdict=verdict,
        code=code,
        evidence=said,
        remedy=advice,
        channel=subject.name,
        evidence_at=subject.verified_at if at_worker else None,
    )
