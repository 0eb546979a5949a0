"""What WaSender answers to a personal access token, translated: sessions, restarts, pages of both logs. Pure.

`now` is Unix time, for headers that name a moment; `secrets` never appear in a problem or in words. A row that cannot
be read spoils its page: who looks for a message in it must not take it for absent.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import SecretStr

from worker.domain.account import (
    LogPage,
    LogRow,
    Problem,
    ProblemCode,
    RestartReport,
    SessionEvent,
    SessionLogPage,
    SessionView,
)
from worker.domain.phone import mask_recipient
from worker.gateway.account_problems import problem_of
from worker.gateway.answers import human_text, printable, read_id, read_object, redacted
from worker.gateway.line import Answer

#: More rows than anybody asks for, or more sessions than an account may have.
MOST_ROWS = 2_000
_NAME_LIMIT = 200
_WORD_LIMIT = 40
_PAGES = 10**9
#: WaSender's own times lie between these; arithmetic with others can leave the calendar.
_FIRST_YEAR, _LAST_YEAR = 2000, 2200

Row = TypeVar("Row")


def read_sessions(answer: Answer, *, now: float, secrets: Iterable[str] = ()) -> tuple[SessionView, ...] | Problem:
    """Read the answer of `GET /whatsapp-sessions`. A row without an id is left out: there is nothing to ask it."""
    rows = _rows(answer, _session)
    if rows is None:
        return problem_of(answer, now=now, secrets=secrets)
    return tuple(row for row in rows[0] if row is not None)


def read_restart(answer: Answer, *, now: float, secrets: Iterable[str] = ()) -> RestartReport | Problem:
    """Read the answer of `POST …/restart`: only `success: true` is a restart, only clear words are a refusal."""
    said = success(answer)
    if said is not None:
        return RestartReport(restarted=True, said=printable(redacted(human_text(said), secrets)))
    problem = problem_of(answer, now=now, secrets=secrets)
    if problem.code is ProblemCode.REFUSED:
        return RestartReport(restarted=False, said=problem.detail)
    return problem


def read_log_page(answer: Answer, *, now: float, secrets: Iterable[str] = ()) -> LogPage | Problem:
    """Read a page of `GET …/message-logs`."""
    found = _rows(answer, _log_row)
    if found is None:
        return problem_of(answer, now=now, secrets=secrets)
    rows, paging = found
    whole = tuple(row for row in rows if row is not None)
    if len(whole) < len(rows):
        return Problem(code=ProblemCode.UNREADABLE_ANSWER, detail="A row of the message log has no id.")
    return LogPage(
        rows=whole,
        current_page=_number(paging.get("current_page"), least=1),
        last_page=_number(paging.get("last_page"), least=1),
        total=_number(paging.get("total"), least=0),
    )


def read_session_log_page(
    answer: Answer, *, now: float, skew_s: float | None, secrets: Iterable[str] = ()
) -> SessionLogPage | Problem:
    """Read a page of `GET …/session-logs`. `skew_s` is passed on."""
    found = _rows(answer, _session_event)
    if found is None:
        return problem_of(answer, now=now, secrets=secrets)
    rows, paging = found
    whole = tuple(row for row in rows if row is not None)
    if len(whole) < len(rows):
        return Problem(code=ProblemCode.UNREADABLE_ANSWER, detail="A row of the session log has no id or no time.")
    return SessionLogPage(
        rows=whole,
        current_page=_number(paging.get("current_page"), least=1),
        last_page=_number(paging.get("last_page"), least=1),
        skew_s=skew_s,
    )


def read_moment(value: object) -> datetime | None:
    """Give the time that a log names: ISO 8601, or a date and a time; without a zone it is read as UTC."""
    if not isinstance(value, str) or len(value) > _WORD_LIMIT:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if _FIRST_YEAR <= moment.year < _LAST_YEAR else None


def success(answer: Answer) -> dict[str, object] | None:
    """Give the JSON object of an answer that is whole, 2xx, and `success: true`; None for anything else."""
    if answer.flaw is not None or not 200 <= answer.status < 300:
        return None
    said = read_object(answer.body)
    return said if said is not None and said.get("success") is True else None


def _rows(
    answer: Answer, read: Callable[[Mapping[str, object]], Row | None]
) -> tuple[list[Row | None], Mapping[str, object]] | None:
    """Give each row, None where it cannot be read, and the paginator's numbers; None when there are no rows.

    The rows are `data`, or `data.data` in Laravel's paginator, whose numbers stand beside them or under `meta`.
    """
    said = success(answer)
    if said is None:
        return None
    data = said.get("data")
    paging = data if isinstance(data, dict) else said
    rows = data.get("data") if isinstance(data, dict) else data
    if not isinstance(rows, list) or len(rows) > MOST_ROWS:
        return None
    meta = paging.get("meta")
    return [read(row) if isinstance(row, dict) else None for row in rows], (
        meta if isinstance(meta, dict) and "current_page" not in paging else paging
    )


def _session(row: Mapping[str, object]) -> SessionView | None:
    number = read_id(row.get("id"))
    if number is None:
        return None
    key = row.get("api_key")
    return SessionView(
        id=number,
        name=printable(name, _NAME_LIMIT) if isinstance(name := row.get("name"), str) else "",
        phone_number=mask_recipient(row.get("phone_number")),
        status=status_word(row.get("status")),
        account_protection=_flag(row.get("account_protection")),
        log_messages=_flag(row.get("log_messages")),
        api_key=SecretStr(key) if isinstance(key, str) and key else None,
    )


def _log_row(row: Mapping[str, object]) -> LogRow | None:
    number = read_id(row.get("id"))
    if number is None:
        return None
    to, reason = row.get("to"), row.get("failed_reason")
    return LogRow(
        id=number,
        to=to if isinstance(to, str) else None,
        content=_content(row.get("content")),
        status=status_word(row.get("status")),
        failed_reason=printable(redacted(printable(reason, 4_000))) if isinstance(reason, str) else None,
        created_at=read_moment(row.get("created_at")),
    )


def _session_event(row: Mapping[str, object]) -> SessionEvent | None:
    number, occurred_at = read_id(row.get("id")), read_moment(row.get("occurred_at"))
    if number is None or occurred_at is None:
        return None
    return SessionEvent(
        id=number,
        event_type=status_word(row.get("event_type")),
        status=status_word(row.get("status")),
        occurred_at=occurred_at,
    )


def _content(value: object) -> Mapping[str, object] | None:
    """Give the posted fields: JSON inside a string (contract 4.13), inside two, JSON itself, or a bare text.

    None stands for "not logged"; an empty object for something that has no fields.
    """
    for _ in range(3):
        if isinstance(value, dict):
            return value
        if not isinstance(value, str) or not value.strip():
            return None
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            return {"text": value}
        if inner is None:
            return None
        if not isinstance(inner, dict | str):
            return {"text": value} if inner != [] else {}
        value = inner
    return {"text": value}


def status_word(value: object) -> str:
    """Give a status as WaSender means it, whatever its case: `NEED_SCAN`, `Need scan`; empty for anything else."""
    if not isinstance(value, str):
        return ""
    return printable(redacted(value), _WORD_LIMIT).lower().replace(" ", "_").replace("-", "_")


def _flag(value: object) -> bool | None:
    """Databases print a flag as true or as 1."""
    if isinstance(value, bool):
        return value
    return {1: True, 0: False, "1": True, "0": False}.get(value) if isinstance(value, int | str) else None


def _number(value: object, *, least: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _PAGES:
        return value
    return None
