"""What WaSender's answer to `GET /on-whatsapp/{number}` says: yes, no, or nothing (contract 4.15). Pure.

Whatever is not exactly a yes or a no is "not known", never "absent".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.domain.outcomes import Cause
from worker.gateway.answers import read_object
from worker.gateway.classify import worded_cause
from worker.gateway.throttle import read_wait_s


@dataclass(frozen=True, kw_only=True)
class NumberAnswer:
    #: None: not known.
    exists: bool | None = None
    #: Asked too often: how long not to ask, in seconds, where WaSender said it.
    throttled: bool = False
    wait_s: float | None = None


NOT_KNOWN = NumberAnswer()


def classify_number(
    status: int, headers: Mapping[str, str], body: bytes, *, now: float, flaw: Cause | None = None
) -> NumberAnswer:
    """`now` is Unix time."""
    answer = read_object(body) if flaw is None else None
    if status == 429 or (answer is not None and status >= 400 and worded_cause(answer) is Cause.THROTTLED):
        wait_s = read_wait_s(answer or {}, {name.lower(): headers[name] for name in headers}, now)
        return NumberAnswer(throttled=True, wait_s=wait_s)
    if answer is None or not 200 <= status < 300 or answer.get("success") is not True:
        return NOT_KNOWN
    data = answer.get("data")
    exists = data.get("exists") if isinstance(data, dict) else None
    return NumberAnswer(exists=exists) if isinstance(exists, bool) else NOT_KNOWN
