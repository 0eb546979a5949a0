"""Why WaSender did not answer a question of a personal access token: one answer in, exactly one problem out. Pure."""

from collections.abc import Iterable, Mapping

from worker.domain.account import Problem, ProblemCode
from worker.domain.outcomes import Cause
from worker.gateway.answers import human_text, page_title, printable, read_object, redacted
from worker.gateway.classify import worded_cause
from worker.gateway.line import Answer
from worker.gateway.throttle import read_wait_s

#: What WaSender's words mean when it is asked with a personal access token, where every bad key is a bad token.
_WORDED = {
    Cause.THROTTLED: ProblemCode.THROTTLED,
    Cause.WRONG_CREDENTIAL: ProblemCode.BAD_ACCESS_TOKEN,
    Cause.BAD_KEY: ProblemCode.BAD_ACCESS_TOKEN,
    Cause.NO_SUBSCRIPTION: ProblemCode.NO_SUBSCRIPTION,
}
_STATUSES = {
    401: ProblemCode.BAD_ACCESS_TOKEN,
    402: ProblemCode.NO_SUBSCRIPTION,
    404: ProblemCode.WRONG_ADDRESS,
    405: ProblemCode.WRONG_ADDRESS,
    429: ProblemCode.THROTTLED,
}
_FLAWS = {
    Cause.TIMEOUT: ProblemCode.TIMEOUT,
    Cause.CONNECTION_LOST: ProblemCode.CONNECTION_LOST,
    Cause.UNREADABLE_ANSWER: ProblemCode.UNREADABLE_ANSWER,
}


def problem_of(answer: Answer, *, now: float, secrets: Iterable[str] = ()) -> Problem:
    """Give the problem that an answer without the expected content is. `secrets` never appear in it.

    `now` is Unix time, for headers that name a moment.
    """
    said = read_object(answer.body) if answer.flaw is None else None
    code = _code(answer, said)
    text = human_text(said) if said is not None else page_title(answer.body)
    wait_s = None
    if code is ProblemCode.THROTTLED:
        wait_s = read_wait_s(said or {}, {name.lower(): answer.headers[name] for name in answer.headers}, now)
    return Problem(
        code=code,
        detail=printable(redacted(printable(text, 4_000), secrets)),
        retry_after_s=wait_s,
    )


def flaw_code(cause: Cause) -> ProblemCode:
    """Give the problem that an exception in place of an answer is; `cause` is its `failures.unknown_cause`."""
    return _FLAWS.get(cause, ProblemCode.CONNECTION_LOST)


def _code(answer: Answer, said: Mapping[str, object] | None) -> ProblemCode:
    status = answer.status
    if status in (408, 499) or not 200 <= status < 500:
        return ProblemCode.SERVER_ERROR
    if 300 <= status < 400:
        return ProblemCode.WRONG_ADDRESS
    unreadable = ProblemCode.UNREADABLE_ANSWER if answer.flaw is None else flaw_code(answer.flaw)
    if said is None:
        return _STATUSES.get(status, unreadable)
    if status < 300 and said.get("success") is not False:
        return unreadable
    if status in (401, 429):
        return _STATUSES[status]
    worded = _WORDED.get(cause) if (cause := worded_cause(said)) else None
    if worded is not None:
        return worded
    if status in (403, 404) and not _knows_no_route(said):
        return ProblemCode.UNKNOWN_SESSION
    return _STATUSES.get(status, ProblemCode.REFUSED)


def _knows_no_route(said: Mapping[str, object]) -> bool:
    """Laravel's words for a path that nobody serves; anything else is a session that the account does not have."""
    return "route" in human_text(said).lower()
