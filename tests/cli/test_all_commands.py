"""The command line as a whole: what each command says of itself is true, and what is mistyped is told in words."""

import re
import shlex
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tests.cli.conftest import Said
from worker.cli.app import app

#: What starts something that runs, or changes the schema: no program reads an answer of these.
WITHOUT_JSON = {"truetick", "up", "demo", "web", "sandbox", "db", "db upgrade", "db downgrade"}
EXAMPLE = re.compile(r"`([^`]*truetick [^`]+)`")


def commands(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command there is, by what is typed for it."""
    yield " ".join(path) or "truetick", command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)


ALL = dict(commands(get_command(app)))


def examples(command: Any) -> list[list[str]]:
    """The arguments of the examples in a command's help, without the shell's part of them."""
    found = EXAMPLE.findall((command.help or "").partition("Example")[2])
    return [shlex.split(one.partition("truetick ")[2].partition(" < ")[0]) for one in found]


@pytest.mark.parametrize("name", ALL)
def test_every_command_explains_itself_with_an_example_of_itself(name: str) -> None:
    given = examples(ALL[name])
    assert given, f"{name} has no example"
    assert name == "truetick" or any(" ".join(one).startswith(name) for one in given)
    options = {option for parameter in ALL[name].params for option in parameter.opts}
    assert ("--json" in options) is (name not in WITHOUT_JSON)


@pytest.mark.parametrize("name", ALL)
def test_every_example_can_be_typed_as_it_stands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("contacts.csv", "crm.csv", "shop.jpg"):
        (tmp_path / file).touch()
    for arguments in examples(ALL[name]):
        command, typed, path = ALL["truetick"], arguments, []
        while hasattr(command, "commands") and typed:
            command, typed = command.commands[typed[0]], typed[1:]
            path.append(arguments[len(path)])
        command.make_context(" ".join(path), list(typed))


def test_nobody_is_told_that_a_message_whose_time_is_over_could_be_sent_again() -> None:
    assert "expired" not in ALL["resend"].help


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("channels", "pause", "nowhere", "--json"), "unknown_channel", 1),
        (("import", "{empty}", "--text-template", "Hello", "--json"), "bad_table", 2),
        (("audit", "{empty}", "--json"), "bad_table", 2),
        (("check", "--test-to", "12", "--json"), "too_short", 2),
        (("outages", "last", "--json"), "usage", 2),
    ],
)
def test_programs_are_told_of_an_error_in_json_and_people_in_a_sentence(
    on: Callable[..., Said], tmp_path: Path, arguments: tuple[str, ...], code: str, exit_code: int
) -> None:
    (tmp_path / "empty.csv").touch()
    told = on(*(argument.format(empty=tmp_path / "empty.csv") for argument in arguments), columns=200)

    assert told.code == exit_code
    assert told.json["error"]["code"] == code
    assert told.json["error"]["message"][:30] in " ".join(told.err.replace("│", " ").split())


def said(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, " ".join(result.stderr.replace("│", " ").split())


def test_it_tells_its_version() -> None:
    assert said("--version") == (0, f"truetick {version('truetick')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("cancel", "nonsense"),
            "'nonsense' is no message's id, which is a UUID; they are shown by: truetick messages",
        ),
        (("send", "7033009600", "Hi", "--reply-to", "4711"), "'4711' is no message's id"),
        (("resend", "17"), "'17' is no message's id"),
        (("why", "\x1b[31mred"), r"'\x1b[31mred' is no message's id"),
        (("outages", "last"), "'last' is not a whole number."),
        (("outages", "0"), "greater than or equal to 1"),
        (("outages", str(2**63)), "less than or equal to"),
        (("outages", "--limit", "0"), "greater than or equal to 1"),
        (("messages", "--limit", "many"), "'many' is not a whole number."),
        (("messages", "--limit", "0"), "greater than or equal to 1"),
        (("channels", "reconnect", "sales", "--timeout", "soon"), "'soon' is not a number, such as 90 or 2.5."),
        (("channels", "add", "sales", "--session-id", str(2**63)), "less than or equal to"),
        (("chanels",), "No such command"),
        (("status", "--xml"), "No such option: --xml"),
        (("send",), "Missing argument"),
    ],
)
def test_what_is_mistyped_is_told_in_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    code, out, err = said(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Input should be a valid" not in err
