"""Reading WaSender's answers: strict JSON in, the words for people out, nothing secret left in them.

What an answer means for a message is decided in `classify`; here nothing is decided.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

#: Longest text of WaSender's that is kept in an attempt, in characters.
DETAIL_LIMIT = 300
_MATCHED_LIMIT = 4_000
_MAX_ID = 2**63 - 1

_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]{0,200}>(.{1,300}?)</title", re.IGNORECASE | re.DOTALL)
#: Session keys (64 hex), webhook secrets (32 hex), and anything else of one piece as long as a credential.
_TOKEN = re.compile(r"[0-9]+\|[A-Za-z0-9]{16,}|[0-9a-fA-F]{20,}|[A-Za-z0-9_-]{32,}")
_PHONE = re.compile(r"\+\d[\d\s().-]{5,20}\d|\d(?:[\s().-]?\d){8,19}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def read_object(body: bytes) -> dict[str, object] | None:
    """Give the JSON object that `body` (UTF-8, with or without a BOM) is, or None if it is anything else."""
    try:
        answer = _DECODER.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def read_id(value: object) -> int | None:
    """Give a WaSender id: a positive 64-bit integer, which some endpoints write as a string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_ID:
        return value
    return None


def _texts(answer: Mapping[str, object]) -> Iterable[str]:
    for key in ("message", "error"):
        if isinstance(text := answer.get(key), str) and text.strip():
            yield text
    errors = answer.get("errors")
    fields = list(errors.values()) if isinstance(errors, dict) else [errors]
    for field in fields:
        for text in field if isinstance(field, list) else [field]:
            if isinstance(text, str) and text.strip():
                yield text


def human_text(answer: Mapping[str, object]) -> str:
    """Give WaSender's own words: the first of `message`, `error` and the entries of `errors` (contract 2)."""
    return next(iter(_texts(answer)), "")


def matched_text(answer: Mapping[str, object]) -> str:
    """Give all of WaSender's words in lower case, without URLs, for finding fragments in them.

    URLs are left out because they echo the message's own content ("…/scan.pdf").
    """
    return _URL.sub(" ", "\n".join(_texts(answer))[:_MATCHED_LIMIT]).lower()


def page_title(body: bytes) -> str:
    """Give the title of an HTML page (Cloudflare's error pages have telling ones), or ""."""
    found = _TITLE.search(body[:8_192].decode("utf-8", "replace"))
    return found[1] if found else ""


def printable(text: str, limit: int = DETAIL_LIMIT) -> str:
    """Give `text` on one line, without control characters, NULs or lone surrogates, cut to `limit`."""
    kept = "".join(char if char.isprintable() else " " for char in text[: limit * 8])
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask the `secrets` and all that looks like a key, a token or a phone number."""
    for secret in secrets:
        if secret:
            text = re.sub(re.escape(secret), "[masked]", text, flags=re.IGNORECASE)
    return _PHONE.sub("[number]", _TOKEN.sub("[masked]", text))
