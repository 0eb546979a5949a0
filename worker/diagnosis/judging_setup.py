"""Judges how WaSender is set up for us: does it log messages, does the pace keep its limits, do the clocks agree?"""

from worker.diagnosis.facts import Facts, Subject, Trouble
from worker.diagnosis.finding import Finding, Verdict, general, on
from worker.domain.account import SessionView
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.domain.durations import briefly
from worker.domain.pace import Pace

V = Verdict

#: A clock that is off by more makes logs and waits misleading; ours and the database's have to agree better.
MOST_GATEWAY_SKEW_S, MOST_DATABASE_SKEW_S = 60.0, 5.0
#: What WaSender allows. Source: the contract on rate limits.
PROTECTED, UNPROTECTED = Pace(1, 5), Pace(256, 60)


def message_logging(subject: Subject, facts: Facts) -> Finding:
    session = _session(subject, facts)
    if not isinstance(session, SessionView):
        return on(subject.name, "message_logging", *session)
    if session.log_messages is None:
        said = "WaSender does not say whether this session logs messages."
        return on(subject.name, "message_logging", V.UNVERIFIED, "not_told", said, "Look at the session in WaSender.")
    if session.log_messages:
        said = "It does; messages in doubt can be looked up there."
        return on(subject.name, "message_logging", V.OK, "on", said)
    return on(
        subject.name,
        "message_logging",
        V.FAILED,
        "off",
        "The session does not log messages, so nobody can look up whether one in doubt went out.",
        f'Switch on "log messages" for session {session.id} in WaSender.',
    )


def limits(subject: Subject, facts: Facts) -> Finding:
    if subject.facts is None:
        said = "Nothing that is stored about this channel can be read yet."
        advice = "See the checks of the database and of the workers."
        return on(subject.name, "limits", V.UNVERIFIED, "unknown", said, advice)
    pacing = subject.facts.standing.pacing
    pace = pacing.pace
    lower = _lower(subject, PROTECTED)
    if pacing.is_slowed:
        said = (
            f"WaSender refused messages as too many although the pace {pace} was kept; "
            f"one goes out every {briefly(pacing.interval)} for now."
        )
        advice = f"{lower} On a trial WaSender allows one a minute and 50 a day: pace 1/60, daily cap 50."
        return on(subject.name, "limits", V.FAILED, "slowed_down", said, advice)
    if pace.seconds / pace.messages >= PROTECTED.seconds / PROTECTED.messages:
        said = f"The pace {pace} keeps within account protection's {PROTECTED}, and with it every paid plan's limit."
        return on(subject.name, "limits", V.OK, "within", said)
    session = _session(subject, facts)
    protected = session.account_protection if isinstance(session, SessionView) else None
    if protected:
        said = f"Account protection is on, so WaSender allows {PROTECTED}; the pace is {pace}."
        advice = f"{lower} Or switch account protection off in WaSender, at your own risk."
        return on(subject.name, "limits", V.FAILED, "protected", said, advice)
    if pace.seconds / pace.messages < UNPROTECTED.seconds / UNPROTECTED.messages:
        said = f"WaSender allows {UNPROTECTED} at the most; the pace is {pace}."
        return on(subject.name, "limits", V.FAILED, "too_fast", said, _lower(subject, UNPROTECTED))
    if protected is None:
        said = f"The pace {pace} is allowed only without account protection, and WaSender does not tell here."
        advice = f"Look in WaSender whether the session has account protection; if so: {lower[0].lower()}{lower[1:]}"
        return on(subject.name, "limits", V.UNVERIFIED, "not_told", said, advice)
    said = f"Account protection is off, and the pace {pace} keeps within {UNPROTECTED}."
    return on(subject.name, "limits", V.OK, "within", said)


def _lower(subject: Subject, pace: Pace) -> str:
    if subject.name == DEFAULT_CHANNEL:
        return f"Lower the pace to {pace} (TRUETICK_PACE), and restart the workers."
    return f"Lower the pace: truetick channels set-pace {subject.name} {pace}."


def clock(facts: Facts) -> Finding:
    gateway = next((s.sounding.skew_s for s in facts.subjects if s.sounding and s.sounding.skew_s is not None), None)
    database = facts.database.skew_s if not isinstance(facts.database, Trouble) else None
    workers = [] if isinstance(facts.workers, Trouble) else facts.workers
    off = max((worker.skew_s for worker in workers if worker.skew_s is not None), key=abs, default=None)
    compared = [
        (_said("The database's clock", database, "this machine's"), "database_off", database, MOST_DATABASE_SKEW_S),
        (_said("A worker's clock", off, "this machine's"), "worker_off", off, MOST_DATABASE_SKEW_S),
        (_said("WaSender's clock", gateway, "this machine's"), "gateway_off", gateway, MOST_GATEWAY_SKEW_S),
    ]
    wrong = [(said, code) for said, code, skew_s, most_s in compared if skew_s is not None and abs(skew_s) > most_s]
    if wrong:
        advice = "Let every machine keep its time by NTP (`timedatectl` shows whether it does), then check again."
        return general("clock", V.FAILED, wrong[0][1], " ".join(said for said, _ in wrong), advice)
    known = [said for said, _, skew_s, _ in compared if skew_s is not None]
    if gateway is None and database is None:
        said = "There was no other clock to compare this machine's with."
        advice = "It is compared once WaSender can be asked: see the checks of the API and of its key."
        return general("clock", V.UNVERIFIED, "not_told", said, advice)
    return general("clock", V.OK, "agree", " ".join(known))


def _said(whose: str, skew_s: float | None, other: str) -> str:
    if skew_s is None or abs(skew_s) < 1.5:
        return f"{whose} agrees with {other}."
    return f"{whose} is {_span(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} {other}."


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _session(subject: Subject, facts: Facts) -> SessionView | tuple[Verdict, str, str, str]:
    """The account's word about this channel's session, or the finding that there is none."""
    if facts.account is None:
        said = "Only a personal access token can tell (WASENDER_PERSONAL_ACCESS_TOKEN, optional), and none is set."
        return V.SKIPPED, "no_access_token", said, ""
    if not isinstance(facts.account, tuple):
        said = "The account's sessions could not be listed."
        return V.UNVERIFIED, "account_not_read", said, "See the check of the personal access token."
    session = facts.session_of(subject)
    if session is None:
        said = "The token's account has no session with this channel's key."
        return V.UNVERIFIED, "session_not_found", said, "Use a personal access token of the same WaSender account."
    return session
