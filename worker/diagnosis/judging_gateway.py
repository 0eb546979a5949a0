"""Judges whether WaSender is there, and whether it takes our key and our personal access token."""

from worker.diagnosis.facts import Facts, Subject, Trouble, looks_like_access_token
from worker.diagnosis.finding import Finding, Verdict
from worker.domain.account import Problem, ProblemCode
from worker.domain.channel_state import NO_API_KEY, ChannelState, remedy
from worker.domain.durations import lasting
from worker.domain.evidence import Connection
from worker.domain.outcomes import Cause

V = Verdict

#: Why there was no answer, in a sentence, and what to do.
_NO_ANSWER: dict[str, tuple[str, str]] = {
    Cause.UNREACHABLE: (
        "No connection to {url} comes about.",
        "Check this machine's network, DNS and firewall, and WASENDER_BASE_URL.",
    ),
    Cause.TIMEOUT: (
        "WaSender at {url} takes questions, but does not answer them in time.",
        "Wait, and look at WaSender's own status. Messages wait and go out by themselves.",
    ),
    Cause.SERVER_ERROR: (
        "WaSender at {url} answers with an error of its own.",
        "Wait, and look at WaSender's own status. Messages wait and go out by themselves.",
    ),
    Cause.CONNECTION_LOST: (
        "The connection to {url} broke before an answer had come.",
        "Check the network between this machine and WaSender. Messages wait and go out by themselves.",
    ),
    Cause.WRONG_ADDRESS: (
        "Something answers at {url}, but it is not WaSender's API.",
        "Correct WASENDER_BASE_URL (https://www.wasenderapi.com/api) and restart everything.",
    ),
    Cause.UNREADABLE_ANSWER: (
        "What answers at {url} does not speak as WaSender does.",
        "Check WASENDER_BASE_URL, and whether a proxy answers in WaSender's place.",
    ),
}


def api_reachable(facts: Facts) -> Finding:
    soundings = [subject.sounding for subject in facts.subjects if subject.sounding is not None]
    answered = [sounding for sounding in soundings if sounding.answered]
    if answered:
        said = f"WaSender at {facts.gateway_url} answered in {max(0.01, answered[0].took_s):.2f} s."
        return Finding(check="api_reachable", verdict=V.OK, code="answered", evidence=said)
    if soundings:
        return _not_reached(facts, soundings[0].report.word)
    if isinstance(facts.account, tuple):
        said = f"WaSender at {facts.gateway_url} answered a question about the account."
        return Finding(check="api_reachable", verdict=V.OK, code="answered", evidence=said)
    asked_at = max((at for subject in facts.subjects if (at := subject.verified_at)), default=None)
    if asked_at is not None:
        said = f"WaSender answered a worker {lasting(facts.now - asked_at)} ago; there is no key here to ask with."
        return Finding(check="api_reachable", verdict=V.OK, code="answered", evidence=said, evidence_at=asked_at)
    if facts.unreachable is not None:
        return _not_reached(facts, facts.unreachable.code)
    return Finding(
        check="api_reachable",
        verdict=V.UNVERIFIED,
        code="nothing_to_ask_with",
        evidence=f"A connection to {facts.gateway_url} comes about, but there is no API key here to ask with.",
        remedy="Set WASENDER_API_KEY to the session's API key from WaSender.",
    )


def _not_reached(facts: Facts, word: str) -> Finding:
    known = _NO_ANSWER.get(word)
    sentence, advice = known or _NO_ANSWER[Cause.UNREADABLE_ANSWER]
    last = max((at for subject in facts.subjects if (at := subject.verified_at)), default=None)
    before = f" A worker got its last good answer {lasting(facts.now - last)} ago." if last else ""
    return Finding(
        check="api_reachable",
        verdict=V.FAILED,
        code=word if known else Cause.UNREADABLE_ANSWER.value,
        evidence=sentence.format(url=facts.gateway_url) + before,
        remedy=advice,
    )


def api_key(subject: Subject, facts: Facts) -> Finding:
    report = subject.sounding.report if subject.sounding else None
    if subject.key_is_access_token:
        return _key(V.FAILED, Cause.WRONG_CREDENTIAL, _WRONG_KIND, subject)
    if subject.keyless:
        return _no_key(subject, facts)
    if report is not None and report.connection is Connection.REFUSED:
        return _key(V.FAILED, report.word, _REFUSED.get(report.word, _REFUSED[Cause.BAD_KEY]), subject)
    if subject.facts is not None and subject.facts.standing.reason == Cause.NO_SUBSCRIPTION:
        # The question "are you connected?" is answered without one; only sends are refused.
        return _key(V.FAILED, Cause.NO_SUBSCRIPTION, _REFUSED[Cause.NO_SUBSCRIPTION], subject, by_worker=True)
    if report is not None and report.connection is not Connection.UNVERIFIED:
        return _key(V.OK, "accepted", "WaSender knows the key; it is a session's own.", subject)
    if subject.state is ChannelState.BLOCKED and subject.facts is not None:
        reason = subject.facts.standing.reason
        if reason in _REFUSED:
            return _key(V.FAILED, reason, _REFUSED[reason], subject, by_worker=True)
    if subject.verified_at is not None and subject.state is not ChannelState.BLOCKED:
        ago = lasting(facts.now - subject.verified_at)
        return _key(V.OK, "accepted", f"WaSender took the key from a worker {ago} ago.", subject, by_worker=True)
    why = "WaSender did not answer" if report is not None else "It could not be asked about from here"
    if subject.key_problem is not None:
        why = "This process cannot read the key, which is encrypted"
    return Finding(
        check="api_key",
        verdict=V.UNVERIFIED,
        code=subject.key_problem or "not_asked",
        evidence=f"{why}, and no worker has asked lately, so nothing is known of the key.",
        remedy=remedy(ChannelState.BLOCKED, subject.key_problem, subject.name)
        if subject.key_problem
        else "See the other checks: WaSender has to be reachable, and a worker has to run.",
        channel=subject.name,
    )


_WRONG_KIND = "The key is a personal access token (digits and a bar at its beginning), not a session's API key."
_REFUSED: dict[str, str] = {
    Cause.BAD_KEY: "WaSender does not know this key.",
    Cause.WRONG_CREDENTIAL: "WaSender says that this is the wrong kind of credential for a session.",
    Cause.NO_SUBSCRIPTION: "WaSender knows the key, but the account has no active subscription or trial.",
}


def _key(verdict: Verdict, code: str, sentence: str, subject: Subject, *, by_worker: bool = False) -> Finding:
    return Finding(
        check="api_key",
        verdict=verdict,
        code=str(code),
        evidence=sentence,
        remedy=remedy(ChannelState.BLOCKED, str(code), subject.name) if verdict is V.FAILED else None,
        channel=subject.name,
        evidence_at=subject.verified_at if by_worker else None,
    )


def _no_key(subject: Subject, facts: Facts) -> Finding:
    """A channel without a key is nobody's trouble while another one has one and nothing waits for this one."""
    alone = all(other.keyless for other in facts.subjects)
    said = "There is no API key to send with." if alone else "It has no API key, so it is not used."
    if subject.waiting:
        said = f"There is no API key to send with, and {subject.what_waits}."
    return Finding(
        check="api_key",
        verdict=V.FAILED if alone or subject.waiting else V.SKIPPED,
        code=NO_API_KEY,
        evidence=said,
        remedy=remedy(ChannelState.BLOCKED, NO_API_KEY, subject.name),
        channel=subject.name,
    )


def access_token(facts: Facts) -> Finding:
    token, account = facts.settings.gateway_access_token, facts.account
    verdict, code = V.UNVERIFIED, "not_asked"
    advice: str | None = "See whether WaSender can be reached."
    if account is None or token is None:
        verdict, code, advice = V.SKIPPED, "no_access_token", None
        said = "None is set. It is optional; with one, Truetick can look into WaSender's logs and restart sessions."
    elif isinstance(account, tuple):
        verdict, code, advice = V.OK, "accepted", None
        said = f"WaSender takes it; the account has {len(account)} session{'' if len(account) == 1 else 's'}."
    elif isinstance(account, Trouble):
        said = account.sentence
    elif account.code is ProblemCode.BAD_ACCESS_TOKEN:
        verdict, code = V.FAILED, account.code.value
        advice = "Copy a personal access token from WaSender's settings into WASENDER_PERSONAL_ACCESS_TOKEN, restart."
        said = "WaSender does not take it" + (
            "." if looks_like_access_token(token) else ": it does not even look like one, more like a session's key."
        )
    elif account.lasting:
        verdict, code, said = V.FAILED, account.code.value, _account_said(account)
        advice = "Look at the account in WaSender."
    else:
        said = _account_said(account)
    return Finding(check="access_token", verdict=verdict, code=code, evidence=said, remedy=advice)


def _account_said(problem: Problem) -> str:
    detail = f' Its words: "{problem.detail}".' if problem.detail else ""
    return f"WaSender did not list the account's sessions ({problem.code}).{detail}"
