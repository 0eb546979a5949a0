"""One stack per data folder: file locks that die with their holders, never a stale pid file.

The supervisor holds one of its own. A second one is inherited by the leashes, so that a new start waits until the
children of a killed supervisor are gone as well.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from worker.stack.errors import StackFailed
from worker.var_folder import make_private, writing_to

#: How long a start waits for the children of a supervisor that was killed.
LEFTOVERS_S = 60.0
POLL_S = 0.1


@contextmanager
def only_one(var_dir: Path, on_wait: Callable[[str], None], leftovers_s: float = LEFTOVERS_S) -> Iterator[int]:
    """Hold the folder; yields the descriptor that children have to inherit.

    Raises StackFailed naming the pid that holds it, or when children of an earlier run do not end in time.
    """
    with ExitStack() as opened:
        with writing_to(var_dir):
            make_private(var_dir)
            own_fd = _open(var_dir / "truetick.lock", opened)
        if not _taken(own_fd):
            raise StackFailed(
                f"Truetick is already running on {var_dir} (pid {_written(own_fd)}). "
                "Stop that one first, or give this one a folder of its own with TRUETICK_VAR_DIR.",
                code="already_running",
            )
        shared_fd = _open(var_dir / "children.lock", opened)
        if not _taken(shared_fd):
            on_wait(f"The last run (pid {_written(own_fd)}) was killed; waiting until its processes are gone.")
            _wait_for(shared_fd, var_dir, leftovers_s)
        os.ftruncate(own_fd, 0)
        os.pwrite(own_fd, str(os.getpid()).encode(), 0)
        yield shared_fd


def _open(path: Path, opened: ExitStack) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    opened.callback(os.close, fd)
    return fd


def _wait_for(fd: int, var_dir: Path, leftovers_s: float) -> None:
    deadline = time.monotonic() + leftovers_s
    while not _taken(fd):
        if time.monotonic() > deadline:
            raise StackFailed(
                f"Processes of an earlier run still use {var_dir}. Find them with `ps`, stop them, start again.",
                code="leftovers",
            )
        time.sleep(POLL_S)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written(fd: int) -> str:
    return os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
