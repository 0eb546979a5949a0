"""The code blocks of README.md and docs/, as a reader would copy them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.live_stack import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(*languages: str) -> list[Snippet]:
    """All code blocks (in these languages, if any are named), in the order of their pages."""
    every = (snippet for page in PAGES for snippet in _of(page))
    return [snippet for snippet in every if not languages or snippet.language in languages]


def _of(page: Path) -> Iterator[Snippet]:
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Snippet(str(page.relative_to(ROOT)), line, found[1], found[2])


def commands(code: str) -> list[str]:
    """The commands of a shell snippet: lines, with what a backslash or an open quote carries on; no comments."""
    found: list[str] = []
    begun = ""
    for line in code.splitlines():
        begun = f"{begun}\n{line}" if begun else line
        if begun.endswith("\\") or _is_open(begun):
            continue
        if shlex.split(begun, comments=True):
            found.append(begun)
        begun = ""
    assert not begun, f"a command does not end: {begun}"
    return found


def _is_open(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False
