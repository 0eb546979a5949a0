"""Templates: a text in which `{{ name }}` stands for a value. There are names and nothing else: no expressions."""

import re
from collections.abc import Mapping, Sequence

from worker.domain.errors import InvalidRequest

#: What a placeholder may be called.
PLACEHOLDER_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,39}"

_PLACEHOLDER = re.compile(r"\{\{(?:\s{0,20}(" + PLACEHOLDER_NAME + r")\s{0,20}\}\})?", re.ASCII)


def placeholders(text: str) -> tuple[str, ...]:
    """The names that a template uses, each once, in their order. Raises InvalidRequest (`bad_placeholder`)."""
    names: dict[str, None] = {}
    for found in _PLACEHOLDER.finditer(text):
        if found[1] is None:
            raise InvalidRequest(
                "The template cannot be used: after {{ there has to be a name (letters, digits and _) and then }}, "
                "as in {{name}}.",
                code="bad_placeholder",
            )
        names[found[1]] = None
    return tuple(names)


def render(text: str, values: Mapping[str, str | int | float]) -> str:
    """Put each value where its name stands, as it is: braces within a value are plain text.

    Values that are not used do not matter. Raises InvalidRequest: `bad_placeholder`, or `missing_value`, which names
    all that are missing.
    """
    _require_none([name for name in placeholders(text) if name not in values])
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), text)


def require_no_placeholder(text: str) -> None:
    """For a text that comes without values: braces are plain text, but a `{{name}}` is a mistake that nobody should
    read on a phone. Raises InvalidRequest (`missing_value`).
    """
    _require_none(list(dict.fromkeys(found[1] for found in _PLACEHOLDER.finditer(text) if found[1])))


def _require_none(missing: Sequence[str]) -> None:
    if missing:
        named = ", ".join(f"{{{{{name}}}}}" for name in missing)
        raise InvalidRequest(f"The text has placeholders without a value: {named}.", code="missing_value")
