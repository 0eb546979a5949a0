"""The header `Idempotency-Key`: of all requests with the same one, one message is made."""

from typing import Any

from flask import request

from crm_bridge.web.problems import Problem

HEADER = "Idempotency-Key"
LONGEST_KEY = 200
#: How it is described. Quotes around it, as the IETF draft wants them, do not count.
DESCRIBED = {
    HEADER: {
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!#-~]+$"},
        "description": "Of all requests with the same key one message is made; the same as `idempotency_key` in the "
        "body. ASCII without spaces and quotes.",
        "example": "bill-4711",
    }
}


def shown_key() -> str | None:
    """The header's key; None without one. Raises Problem (422)."""
    written = request.headers.get(HEADER)
    if written is None:
        return None
    quoted = len(written) > 2 and written[0] == written[-1] == '"'
    key = written[1:-1] if quoted else written
    if not 0 < len(key) <= LONGEST_KEY or not all("!" <= char <= "~" and char != '"' for char in key):
        raise Problem(
            422,
            "bad_idempotency_key",
            f"The header {HEADER} has to hold 1 to {LONGEST_KEY} ASCII characters without spaces and quotes.",
        )
    return key


def with_key(body: dict[str, Any], key: str | None) -> dict[str, Any]:
    """The body with the header's key, where it has none. Raises Problem (422) where it has another one."""
    if key is None or body.get("idempotency_key") == key:
        return body
    if body.get("idempotency_key") is not None:
        raise Problem(
            422,
            "two_idempotency_keys",
            f"The header {HEADER} and idempotency_key in the body differ. Send one of them, or the same in both.",
        )
    return body | {"idempotency_key": key}
