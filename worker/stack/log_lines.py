"""Where the children's lines go: to the terminal with a prefix in colour, or to one file per child."""

import os
import sys
from pathlib import Path
from typing import IO, Protocol

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93)
_WIDTH = 8


class LineSink(Protocol):
    def write(self, name: str, line: str) -> None:
        """Take one line of the child `name`. Raises BrokenPipeError when nobody reads any more."""


def wants_colour(stream: IO[str]) -> bool:
    """A terminal whose user has not set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Terminal:
    """`worker   | line`, each child in a colour of its own."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._colour = wants_colour(self._stream)
        self._seen: dict[str, int] = {}

    def write(self, name: str, line: str) -> None:
        prefix = f"{name:<{_WIDTH}} |"
        if self._colour:
            colour = self._seen.setdefault(name, _COLOURS[len(self._seen) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._stream.write(f"{prefix} {line}\n")
        self._stream.flush()


class Files:
    """`FOLDER/worker.log` and so on, begun anew; `last` keeps each child's latest lines for an error's sake."""

    def __init__(self, folder: Path, kept: int = 15) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._kept = kept
        self._files: dict[str, IO[str]] = {}
        self.last: dict[str, list[str]] = {}

    def write(self, name: str, line: str) -> None:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = (self.folder / f"{name}.log").open("w", encoding="utf-8")
        file.write(line + "\n")
        file.flush()
        self.last[name] = [*self.last.get(name, []), line][-self._kept :]

    def close(self) -> None:
        for file in self._files.values():
            file.close()
