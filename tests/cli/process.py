"""Runs one command in a process forked from a server that has the libraries loaded: real, without their start."""

import multiprocessing
import os
import sys
from pathlib import Path

_PRELOADED = ["__main__", "worker.cli.app", "worker.cli.message_work", "worker.cli.channel_work", "worker.tasks"]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_PRELOADED)


def run(arguments: list[str], environment: dict[str, str], files: tuple[Path, Path, Path], timeout_s: float) -> int:
    """The exit code; `files` are the standard input, output and error."""
    process = _context.Process(target=_main, args=(arguments, environment, files))
    process.start()
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"truetick {' '.join(arguments)} did not end within {timeout_s:g} s")
    return process.exitcode


def _main(arguments: list[str], environment: dict[str, str], files: tuple[Path, Path, Path]) -> None:
    for number, (path, flags) in enumerate(zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        descriptor = os.open(path, flags | (0 if number == 0 else os.O_CREAT | os.O_TRUNC))
        os.dup2(descriptor, number)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["truetick", *arguments]
    from worker.cli.app import main

    main()
