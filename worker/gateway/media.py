"""What WaSender's answer to `POST /upload` means: where the file is, or why it is not there. Pure.

Nothing is sent by an upload, so no answer to it can leave a message in doubt (contract 4.2).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.domain.outcomes import Cause, Outcome
from worker.gateway.answers import matched_text, read_object
from worker.gateway.classify import refused, worded_cause

_LONGEST_URL = 2048
#: WaSender's words about a file itself, in lower case; they win over those about plans ("upgrade for larger files").
_ABOUT_FILE = re.compile(
    r"exceeds the (?:limit|maximum)|file size|too large|unsupported|not supported|does not match|mime ?type|file type"
)
#: Words that say something about the channel. Others (a number, a JID) cannot be meant.
_ABOUT_CHANNEL = frozenset(
    {Cause.THROTTLED, Cause.WRONG_CREDENTIAL, Cause.BAD_KEY, Cause.CHANNEL_DOWN, Cause.NO_SUBSCRIPTION}
)
_STATUSES = {
    400: Cause.MEDIA_REFUSED,
    401: Cause.BAD_KEY,
    402: Cause.NO_SUBSCRIPTION,
    413: Cause.MEDIA_REFUSED,
    415: Cause.MEDIA_REFUSED,
    422: Cause.MEDIA_REFUSED,
    429: Cause.THROTTLED,
}
#: A proxy's page says nothing about key, plan or file, but for these two, which any server means alike.
_WITHOUT_WORDS = {413: Cause.MEDIA_REFUSED, 415: Cause.MEDIA_REFUSED, 429: Cause.THROTTLED}


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """Whoever knows the address can fetch the file."""

    public_url: str = field(repr=False)


def classify_upload(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    flaw: Cause | None = None,
    secrets: Iterable[str] = (),
) -> Uploaded | Outcome:
    """Give the address, or what becomes of the message whose file it is. `now` is Unix time."""
    answer = read_object(body) if flaw is None else None
    if (url := _public_url(status, answer)) is not None:
        return Uploaded(public_url=url)
    return refused(_cause(status, answer), status, headers, body, answer, now=now, secrets=secrets)


def _public_url(status: int, answer: Mapping[str, object] | None) -> str | None:
    """`publicUrl` stands at the top level, unlike everything else; it may move to where the rest is."""
    if answer is None or not 200 <= status < 300 or answer.get("success") is False:
        return None
    data = answer.get("data")
    url = answer.get("publicUrl") or (data.get("publicUrl") if isinstance(data, dict) else None)
    usable = isinstance(url, str) and url.startswith(("https://", "http://")) and len(url) <= _LONGEST_URL
    return url if isinstance(url, str) and usable and url.isprintable() and " " not in url else None


def _cause(status: int, answer: Mapping[str, object] | None) -> Cause:
    if not 200 <= status < 500 or status == 408:
        return Cause.MEDIA_NOT_UPLOADED
    if answer is None:
        return _WITHOUT_WORDS.get(status, Cause.MEDIA_NOT_UPLOADED)
    if status < 300 and answer.get("success") is not False:  # it says that it has it, and not where
        return Cause.MEDIA_NOT_UPLOADED
    worded = worded_cause(answer)
    if status == 429 or worded is Cause.THROTTLED:
        return Cause.THROTTLED
    if _ABOUT_FILE.search(matched_text(answer)):
        return Cause.MEDIA_REFUSED
    if worded in _ABOUT_CHANNEL:
        return worded
    if status < 300:
        return Cause.MEDIA_REFUSED
    return _STATUSES.get(status, Cause.MEDIA_NOT_UPLOADED)
