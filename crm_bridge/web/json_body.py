"""Reads a request's body as one JSON object, strictly: what two readers could understand differently is refused."""

import json
import math
from typing import Any, NoReturn

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from crm_bridge.web.problems import Problem

DEEPEST = 32


def read_object() -> dict[str, Any]:
    """The body's object. Raises Problem (400, 413, 415 or 422) with a code for each kind of wrong."""
    body = read_unchecked()
    check(body)
    return body


def read_unchecked() -> dict[str, Any]:
    """The body's object, whose texts, numbers and depth nobody has looked at yet: `check` does, part by part."""
    if request.mimetype != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(
            415, "wrong_content_type", "Send JSON, uncompressed, with the header `Content-Type: application/json`."
        )
    try:
        body = json.loads(read_bytes().decode(), parse_constant=_no_number, object_pairs_hook=_no_doubles)
    except UnicodeDecodeError:
        raise Problem(400, "bad_json", "The body is not UTF-8.") from None
    except RecursionError:
        _too_deep()
    except json.JSONDecodeError as error:
        raise Problem(400, "bad_json", f"The body is not JSON: {error.msg} (at character {error.pos}).") from None
    except ValueError:
        raise Problem(400, "bad_json", "The body holds a number that is too long.") from None
    if not isinstance(body, dict):
        raise Problem(400, "not_an_object", 'The body has to be a JSON object, such as {"to": "…", "text": "…"}.')
    return body


def read_bytes() -> bytes:
    """The whole body, or a 413.

    One that comes in chunks tells no length beforehand, and would be cut at the limit unsaid.
    """
    given = request.get_data(cache=False)
    cut = request.content_length is None and len(given) == request.max_content_length
    if cut and request.environ["wsgi.input"].read(1):
        raise RequestEntityTooLarge
    return given


def check(value: Any) -> None:
    """Raises Problem for what cannot be stored. Level by level, so that no nesting can exhaust the stack."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
            else:
                _check_scalar(value)
        if not below:
            return
        level = below
    _too_deep()


def _check_scalar(value: object) -> None:
    if isinstance(value, float) and math.isinf(value):
        raise Problem(400, "bad_json", "The body holds a number that is too large.")
    if isinstance(value, str) and ("\x00" in value or any("\ud800" <= char <= "\udfff" for char in value)):
        raise Problem(
            422, "bad_characters", "A text holds characters that cannot be stored (NUL or half of a surrogate pair)."
        )


def _no_number(word: str) -> NoReturn:
    raise Problem(400, "bad_json", f"{word} is not a JSON number.")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Problem(400, "duplicate_field", "An object names the same field twice.")
    return made


def _too_deep() -> NoReturn:
    raise Problem(400, "too_deep", f"The body is nested more than {DEEPEST} levels deep.")
