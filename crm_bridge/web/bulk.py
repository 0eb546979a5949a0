"""Many messages in one request: validated one by one, stored in chunks, answered one by one and in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from crm_bridge.web import json_body
from crm_bridge.web.bounded import Bounded, TookTooLong
from crm_bridge.web.problems import Problem, note_broken
from worker import intake
from worker.database import DatabaseAway, despite_deadlocks, transaction
from worker.domain.errors import TruetickError
from worker.domain.message_request import SendRequest, parse_request
from worker.outbox import reading
from worker.outbox.enqueue import Enqueued
from worker.outbox.events import Source
from worker.parts import Parts

MOST_MESSAGES = 10_000
LARGEST_BODY_BYTES = 16 * 1024 * 1024
#: How many are stored in one transaction.
CHUNK = 500
#: What is left of a key from the header for "/" and the item's number.
LONGEST_KEY = 190

_UNKNOWN = (
    "The database does not answer, so it is not known whether this message was stored. "
    "Repeat the request later; with the same message_id or idempotency_key nothing is sent twice."
)
_NOT_TRIED = "The database went away before it was this message's turn, so it was not stored. Repeat it later."


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One answer an item, in order, and one message of each channel that got some."""

    answers: list[dict[str, Any]]
    created: dict[int, Enqueued]


@dataclass(frozen=True)
class _Item:
    index: int
    request: SendRequest
    message_id: UUID


def read_items(body: dict[str, Any]) -> list[Any]:
    """The items of `{"messages": […]}`. Raises Problem (422)."""
    items = body.get("messages")
    if not isinstance(items, list) or set(body) != {"messages"}:
        raise Problem(422, "invalid_request", 'The body has to be {"messages": […]}, and nothing else.')
    if len(items) > MOST_MESSAGES:
        raise Problem(
            422, "too_many_messages", f"There are {len(items)} messages; at most {MOST_MESSAGES} go into one request."
        )
    return items


def store_all(parts: Parts, database: Bounded, given: Sequence[Any], *, key: str | None) -> Stored:
    """Store what can be stored. `key` makes the idempotency keys (KEY/INDEX) of items that have none of their own.

    What goes wrong from the beginning is an error of the whole, and nothing is stored; what goes wrong later is one
    of the items that it meets.
    """
    answers: dict[int, dict[str, Any]] = {}
    created: dict[int, Enqueued] = {}
    items = list(_readable(given, key, answers))
    for begin in range(0, len(items), CHUNK):
        chunk = items[begin : begin + CHUNK]
        try:
            store = partial(_store, parts, chunk)
            # Another bulk with the same keys in another order holds what this one waits for, and the other way round.
            became = database.run(partial(despite_deadlocks, store))
        except (TookTooLong, *DatabaseAway):
            if begin == 0:
                raise
            answers |= {item.index: _error("database_away", _UNKNOWN, item.index) for item in chunk}
            rest = items[begin + CHUNK :]
            answers |= {item.index: _error("database_away", _NOT_TRIED, item.index) for item in rest}
            break
        except Exception as error:
            if begin == 0:
                raise
            broken = note_broken(error)
            said = f"Something broke on this side, so it was not stored; the log tells more under error_id={broken}."
            answers |= {item.index: _error("internal_error", said, item.index) for item in chunk}
            continue
        answers |= {index: answer for index, answer, _ in became}
        created |= {one.channel_id: one for _, _, one in became if one is not None and one.created}
    return Stored(answers=[answers[index] for index in range(len(given))], created=created)


def _readable(given: Sequence[Any], key: str | None, answers: dict[int, dict[str, Any]]) -> list[_Item]:
    """The items that can be understood; what is wrong with the others goes into `answers`."""
    items = []
    for index, one in enumerate(given):
        try:
            if not isinstance(one, dict):
                raise Problem(
                    422, "invalid_request", 'A message has to be an object such as {"to": "…", "text": "…"}.'
                )
            json_body.check(one)
            if key is not None and one.get("idempotency_key") is None:
                one = one | {"idempotency_key": f"{key}/{index}"}
            items.append(_Item(index, parse_request(one), uuid4()))
        except Problem as problem:
            answers[index] = _error(problem.code, problem.detail, index)
        except TruetickError as error:
            answers[index] = _error(error.code, error.message, index)
    return items


def _store(parts: Parts, chunk: Sequence[_Item]) -> list[tuple[int, dict[str, Any], Enqueued | None]]:
    """Index, answer, and what was enqueued, of each."""
    with transaction(parts.engine) as connection:
        became = intake.send_requests(
            parts,
            connection,
            [(item.request, item.message_id) for item in chunk],
            now=parts.clock(),
            source=Source.API,
        )
        ids = [one.message_id for one in became if isinstance(one, Enqueued)]
        views = reading.by_id(connection, ids, parts.clock())
    return [
        (item.index, _error(one.code, one.message, item.index), None)
        if isinstance(one, TruetickError)
        else (item.index, views[one.message_id].as_json(), one)
        for item, one in zip(chunk, became, strict=True)
    ]


def _error(code: str, message: str, index: int) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}, "index": index}
