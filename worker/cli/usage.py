"""How the command line as a whole behaves: what it says of itself, and of what it cannot read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from worker.domain.errors import TruetickError

_AS_JSON = "truetick.as_json"

#: What there is to say of a value that cannot be read, by the kind of error; other kinds speak for themselves.
_SENTENCES = {
    "uuid_parsing": "{given!r} is no message's id, which is a UUID; they are shown by: truetick messages",
    "int_parsing": "{given!r} is not a whole number.",
    "int_parsing_size": "{given!r} is too large a number.",
    "float_parsing": "{given!r} is not a number, such as 90 or 2.5.",
}


class _Spoken:
    """A value of the wrong kind is told in a sentence of our own, and to programs any error in JSON as well."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        as_json = "--json" in args
        with _told(as_json=as_json):
            context = super().make_context(info_name, args, *rest, **more)  # type: ignore[misc]
        context.meta[_AS_JSON] = as_json
        return context

    def invoke(self, ctx: Any) -> Any:
        with _told(as_json=ctx.meta[_AS_JSON]):
            return super().invoke(ctx)  # type: ignore[misc]


class Commands(_Spoken, TyperGroup):
    """The root of all commands."""


class Command(_Spoken, TyperCommand):
    """The only command of a program."""


@contextmanager
def _told(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except typer.BadParameter as error:
        error.message = _in_our_words(error)
        if as_json:
            # A command may have turned an error of ours into one of the command line.
            cause = error.__context__
            _print_error(cause.code if isinstance(cause, TruetickError) else "usage", error.format_message())
        raise
    except TruetickError as error:
        if as_json:
            _print_error(error.code, error.message)
        raise


def _print_error(code: str, sentence: str) -> None:
    """On one line, for some commands answer with a line at a time."""
    typer.echo(json.dumps({"error": {"code": code, "message": sentence}}))


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
