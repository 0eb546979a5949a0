"""What WaSender's answer to `POST /send-message` proved: one HTTP answer in, exactly one outcome out.

The rows are those of the contract's classification table, in its order. Whatever is not proven "not sent" or
"refused" is unknown. Pure: no I/O, no clock.
"""

import re
from collections.abc import Iterable, Mapping

from worker.domain.outcomes import Cause, Outcome
from worker.gateway.answers import (
    human_text,
    matched_text,
    page_title,
    printable,
    read_id,
    read_object,
    redacted,
)
from worker.gateway.throttle import read_wait_s

#: WaSender's wordings, matched in lower case and by fragment, because case and wording have changed over time.
#: First match wins: an account that is throttled or not connected may well mention its plan or trial.
_WORDINGS: tuple[tuple[Cause, re.Pattern[str]], ...] = tuple(
    (cause, re.compile(fragments))
    for cause, fragments in (
        (Cause.THROTTLED, r"rate limit|too many|1 message every|account protection|free trial"),
        (Cause.WRONG_CREDENTIAL, r"personal access token"),
        (
            Cause.BAD_KEY,
            r"invalid api key|api key is required|session not found for the provided api key|unnotarized",
        ),
        (
            Cause.CHANNEL_DOWN,
            r"not connected|connect your session|logged[ _]out|(?<![a-z])scan(?:ned|ning)?(?![a-z])"
            r"|session (?:is |has )?expired",
        ),
        (Cause.NO_SUBSCRIPTION, r"subscription|trial is required|trial plan|session limit|upgrade"),
        (Cause.NOT_ON_WHATSAPP, r"does not exist on whatsapp"),
        (Cause.MALFORMED_RECIPIENT, r"must be a valid whatsapp jid"),
    )
)
#: Under a 5xx only these words are a refusal: others may tell of trouble that came after the message was taken.
_REFUSED_BY_SESSION = re.compile(r"session is not connected|connect your session")
#: A refused key or plan is never the message's fault, whatever else is said.
_ABOUT_RECIPIENT = (Cause.NOT_ON_WHATSAPP, Cause.MALFORMED_RECIPIENT)

#: What the status alone says about a request that was not taken, when the words say nothing.
_STATUSES: dict[int, Cause] = {
    400: Cause.INVALID_REQUEST,
    401: Cause.BAD_KEY,
    402: Cause.NO_SUBSCRIPTION,
    403: Cause.NO_SUBSCRIPTION,
    404: Cause.WRONG_ADDRESS,
    405: Cause.WRONG_ADDRESS,
    410: Cause.WRONG_ADDRESS,
    413: Cause.INVALID_REQUEST,
    421: Cause.WRONG_ADDRESS,
    422: Cause.INVALID_REQUEST,
    429: Cause.THROTTLED,
}


def classify_send(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    flaw: Cause | None = None,
    secrets: Iterable[str] = (),
) -> Outcome:
    """Give the one outcome of an answered send.

    `now` is Unix time, for headers that name a moment in an answer without a `Date`. `flaw` says why `body` could not
    be read to its end; such a body proves nothing and the status decides. `secrets` (key, recipient) never appear in
    the outcome's `detail`.
    """
    answer = read_object(body) if flaw is None else None
    gateway_msg_id = _accepted_id(status, answer)
    if gateway_msg_id is not None:
        return Outcome(cause=Cause.ACCEPTED, http_status=status, gateway_msg_id=gateway_msg_id)
    return refused(_cause(status, answer, flaw), status, headers, body, answer, now=now, secrets=secrets)


def refused(
    cause: Cause,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    answer: Mapping[str, object] | None,
    *,
    now: float,
    secrets: Iterable[str],
) -> Outcome:
    """Give the outcome of an answer that takes nothing: with WaSender's words, and how long it wants us to wait.

    `answer` is the object that `body` is, None where it is none.
    """
    wait_s = None
    if cause is Cause.THROTTLED:
        wait_s = read_wait_s(answer or {}, {name.lower(): headers[name] for name in headers}, now)
    text = human_text(answer) if answer is not None else page_title(body)
    return Outcome(
        cause=cause,
        detail=printable(redacted(printable(text, 4_000), secrets)),
        http_status=status,
        retry_after_s=wait_s,
    )


def worded_cause(answer: Mapping[str, object]) -> Cause | None:
    """Give what WaSender's words in a failed answer say, or None when they are none of the known ones."""
    text = matched_text(answer)
    return next((cause for cause, fragments in _WORDINGS if fragments.search(text)), None)


def _accepted_id(status: int, answer: Mapping[str, object] | None) -> int | None:
    """The rule: accepted ⇔ 2xx and JSON and `success === true` and `data.msgId` (contract 2)."""
    if 200 <= status < 300 and answer is not None and answer.get("success") is True:
        return _named_id(answer)
    return None


def _named_id(answer: Mapping[str, object]) -> int | None:
    data = answer.get("data")
    return read_id(data.get("msgId")) if isinstance(data, dict) else None


def _cause(status: int, answer: Mapping[str, object] | None, flaw: Cause | None) -> Cause:
    if status in (408, 499):  # someone between us and WaSender gave up waiting
        return Cause.TIMEOUT
    if not 200 <= status < 500:
        return Cause.CHANNEL_DOWN if _is_refused_by_session(answer) else Cause.SERVER_ERROR
    if 300 <= status < 400:
        return Cause.WRONG_ADDRESS
    if answer is None:
        return _unworded_cause(status, flaw)
    taken_perhaps = answer.get("success") is True or _named_id(answer) is not None
    if taken_perhaps or (status < 300 and answer.get("success") is not False):
        return Cause.UNREADABLE_ANSWER
    if status == 429:
        return Cause.THROTTLED
    worded = worded_cause(answer)
    if worded is None or (status in (401, 402, 403) and worded in _ABOUT_RECIPIENT):
        return _STATUSES.get(status, Cause.REFUSED)
    return worded


def _is_refused_by_session(answer: Mapping[str, object] | None) -> bool:
    """Does WaSender itself say that it refused the message because its session is not connected?"""
    if answer is None or answer.get("success") is not False or _named_id(answer) is not None:
        return False
    return _REFUSED_BY_SESSION.search(matched_text(answer)) is not None


def _unworded_cause(status: int, flaw: Cause | None) -> Cause:
    """Judge by the status alone. A 400 that is not JSON comes from a web server that is not WaSender's.

    A 403 that is not JSON comes from a firewall on the way. It may dislike one text, and it may have looked at
    WaSender's answer as well as at our request: it says nothing of the plan, nor that the message was not taken.
    """
    if status < 300 or status == 403:
        return flaw or Cause.UNREADABLE_ANSWER
    if status == 400 and flaw is None:
        return Cause.WRONG_ADDRESS
    return _STATUSES.get(status, Cause.REFUSED)
