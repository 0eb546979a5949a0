"""Runs one command in a process of its own, whose end is waited for."""

from pathlib import Path

from tests import programs


def run(arguments: list[str], environment: dict[str, str], files: tuple[Path, Path, Path], timeout_s: float) -> int:
    """The exit code; `files` are the standard input, output and error."""
    given, output, errors = files
    command = programs.warm(
        "truetick", *arguments, environment=environment, input=given, output=output, errors=errors
    )
    try:
        return command.wait(timeout_s)
    finally:
        command.kill()
