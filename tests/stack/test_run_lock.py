"""One stack per folder, and keys that are made once."""

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.stack.errors import StackFailed
from worker.stack.kept_keys import kept_key
from worker.stack.ports import free_port, require_free
from worker.stack.run_lock import only_one


def _quiet(_line: str) -> None:
    pass


def test_a_second_start_is_told_who_was_first(tmp_path: Path) -> None:
    with (
        only_one(tmp_path, _quiet),
        pytest.raises(StackFailed, match=rf"pid {os.getpid()}\)"),
        only_one(tmp_path, _quiet),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with only_one(tmp_path, _quiet):
            pass


@contextmanager
def _left_behind(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that inherited the lock of a supervisor that is gone; it ends when its standard input does."""
    with only_one(folder, _quiet) as fd:
        child = subprocess.Popen(["cat"], pass_fds=(fd,), stdin=subprocess.PIPE)
    assert child.stdin is not None
    try:
        yield child
    finally:
        child.stdin.close()
        child.wait()


def test_processes_of_a_killed_run_are_waited_for(tmp_path: Path) -> None:
    with _left_behind(tmp_path) as child:
        said: list[str] = []

        def end_it(line: str) -> None:
            said.append(line)
            assert child.stdin is not None
            child.stdin.close()

        with only_one(tmp_path, end_it):
            assert child.wait(5) == 0
    assert said == [f"The last run (pid {os.getpid()}) was killed; waiting until its processes are gone."]


def test_processes_of_a_killed_run_are_not_waited_for_without_end(tmp_path: Path) -> None:
    with (
        _left_behind(tmp_path),
        pytest.raises(StackFailed, match="earlier run"),
        only_one(tmp_path, _quiet, leftovers_s=0.2),
    ):
        pass


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "var" / "api-key"
    first = kept_key(path)
    assert len(first) == 64
    assert kept_key(path) == first
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert [file.name for file in path.parent.iterdir()] == ["api-key"]


def test_an_empty_key_file_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "api-key"
    path.touch()
    assert kept_key(path) == kept_key(path) != ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_port_in_use_is_said_with_the_option_that_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            StackFailed, match=rf"Port {port} for the web server is already in use.*--port {port + 1}"
        ):
            require_free("127.0.0.1", port, what="the web server", option="--port")


def test_a_free_port_is_free() -> None:
    require_free("127.0.0.1", free_port(), what="anything", option="--port")
