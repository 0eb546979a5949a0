"""What WaSender answers to "connect", to the question for a QR code, and to the wish for another key. Pure.

`now` is Unix time, for headers that name a moment; `secrets` never appear in a problem.
"""

from collections.abc import Iterable

from pydantic import SecretStr

from worker.domain.account import Problem
from worker.domain.linking import LONGEST_CODE, ConnectReport
from worker.gateway.account_problems import problem_of
from worker.gateway.account_reports import status_word, success
from worker.gateway.line import Answer

#: WaSender's keys have 64 characters.
LONGEST_KEY = 512


def read_connect(answer: Answer, *, now: float, secrets: Iterable[str] = ()) -> ConnectReport | Problem:
    """Read the answer of `POST …/connect`: a status, and a code to scan where it needs one."""
    data = _data(answer)
    status = status_word(data.get("status"))
    if not status:
        return problem_of(answer, now=now, secrets=secrets)
    return ConnectReport(status=status, qr_code=_code(data))


def read_qr_code(answer: Answer, *, now: float, secrets: Iterable[str] = ()) -> SecretStr | Problem:
    """Read the answer of `GET …/qrcode`."""
    return _code(_data(answer)) or problem_of(answer, now=now, secrets=secrets)


def read_new_key(answer: Answer, *, now: float, secrets: Iterable[str] = ()) -> SecretStr | Problem:
    """Read the answer of `POST …/regenerate-key`, which has the key at its top level."""
    key = (success(answer) or {}).get("api_key") or _data(answer).get("api_key")
    if isinstance(key, str) and 0 < len(key) <= LONGEST_KEY and all("!" <= char <= "~" for char in key):
        return SecretStr(key)
    return problem_of(answer, now=now, secrets=secrets)


def _data(answer: Answer) -> dict[str, object]:
    data = (success(answer) or {}).get("data")
    return data if isinstance(data, dict) else {}


def _code(data: dict[str, object]) -> SecretStr | None:
    """The raw text to be drawn: `qrCode` in answers, `qr` in events (contract 4.10, 7.8)."""
    code = data.get("qrCode") or data.get("qr")
    if not isinstance(code, str) or not code.isascii() or not code.isprintable() or len(code) > LONGEST_CODE:
        return None
    return SecretStr(code) if code.strip() else None
