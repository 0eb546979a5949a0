"""How commands answer: tables and lines for people, JSON for programs. No text from outside steers the terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.domain.durations import lasting

_STYLES = {
    **dict.fromkeys(("up", "sent", "delivered", "read", "accepted"), "green"),
    **dict.fromkeys(("pending", "unknown", "in_doubt", "not_sent", "paused"), "yellow"),
    **dict.fromkeys(("down", "mute", "blocked", "failed", "expired", "rejected"), "red"),
}


def print_json(answer: Any) -> None:
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=not takes_unicode()))


def plain(value: object) -> str:
    """A value as text that is safe on a terminal: control characters are shown, not obeyed."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def styled(word: str, text: str | None = None) -> Text:
    """`text` in the colour of the state `word`."""
    return Text(plain(text or word), style=_STYLES.get(word, ""))


def console() -> Console:
    """Standard output: colours on a terminal only, and none with NO_COLOR; 80 columns where there is no terminal."""
    return Console(file=sys.stdout, highlight=False, emoji=False, markup=False)


def say(line: str = "", *, style: str = "") -> None:
    """One line for people, wrapped at the terminal's width."""
    console().print(Text(plain(line), style=style), soft_wrap=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, whole: Sequence[str] = ()) -> None:
    """A table; columns named in `whole` are never broken, and those that begin with ">" are numbers."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        name = column.removeprefix(">")
        drawn.add_column(
            name.upper(), justify="right" if column != name else "left", no_wrap=name in whole, overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    console().print(drawn)


def facts(pairs: Iterable[tuple[str, str | Text]]) -> None:
    """Lines of "name  value"; values wrap beside their name."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(no_wrap=True, style="bold")
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        drawn.add_row(name, value if isinstance(value, Text) else Text(plain(value)))
    console().print(drawn)


def ago(moment: datetime | None, now: datetime) -> str:
    return "never" if moment is None else f"{lasting(now - moment)} ago"


def clock_time(told: str | None) -> str:
    """An ISO time from JSON, for people: to the second, in UTC."""
    return "" if told is None else told[:19].replace("T", " ")


def takes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
