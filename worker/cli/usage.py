"""How the command line as a whole behaves: what it says of itself, and of what it cannot read."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer
from typer.core import TyperGroup

#: What there is to say of a value that cannot be read, by the kind of error; other kinds speak for themselves.
_SENTENCES = {
    "uuid_parsing": "{given!r} is no message's id, which is a UUID; they are shown by: truetick messages",
    "int_parsing": "{given!r} is not a whole number.",
    "int_parsing_size": "{given!r} is too large a number.",
    "float_parsing": "{given!r} is not a number, such as 90 or 2.5.",
}


class Commands(TyperGroup):
    """The root of all commands. A value of the wrong kind is told in a sentence of our own."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _in_our_words(error)
            raise


def _in_our_words(error: typer.BadParameter) -> str:
    """The library's own words come with the error that was their cause."""
    problems: list[Any] = getattr(error.__cause__, "errors", list)()
    sentence = _SENTENCES.get(problems[0]["type"]) if problems else None
    return error.message if sentence is None else sentence.format(given=str(problems[0]["input"])[:40])


def say_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"truetick {version('truetick')}")
        except PackageNotFoundError:
            typer.echo("truetick (not installed as a package)")
        raise typer.Exit
