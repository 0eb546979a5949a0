"""Holds one child process on a leash: when the supervisor is gone, however it went, the child goes too.

Run by path (`python -I -S leash.py LIFELINE_FD[,FD…] GRACE_S COMMAND…`), standard library only, so that it stays
small. The supervisor holds the other end of the lifeline, a socket pair; ours reads EOF when the supervisor exits or
is killed. Weakness: a grandchild that leaves the child's process group is out of reach.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

#: Linux's prctl options: "signal me when my parent dies" and "orphans below me become my children".
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
#: How often a group that has been told to stop is looked at.
POLL_S = 0.05
#: Exit code of a command that could not be started, as shells have it.
NOT_STARTED = 127

#: "Stop the child, with its grace".
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: "Kill the child now".
KILL_SIGNAL = signal.SIGQUIT


def _die_with_leash() -> Callable[[], None]:
    """What the forked child calls first, so that killing the leash takes the child along (Linux only)."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    leash = os.getpid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != leash:
            os._exit(NOT_STARTED)

    return ask


def _start(command: list[str]) -> int:
    """Fork and execute `command` as the leader of a process group of its own; answers its pid."""
    ask = _die_with_leash()
    pid = os.fork()
    if pid:
        with suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*STOP_SIGNALS, KILL_SIGNAL, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        ask()
        os.execvp(command[0], command)  # noqa: S606 - no shell: the supervisor's own command
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


class Leash:
    """One child's life: start it, wait for its end or for an order to end it, leave nobody of its group."""

    def __init__(self, lifeline_fd: int, grace_s: float, command: list[str]) -> None:
        self.lifeline_fd = lifeline_fd
        self.grace_s = grace_s
        self.stopping = False
        self.killing = False
        self.exit_code: int | None = None
        self._woken_fd, self._wake_fd = os.pipe()
        os.set_blocking(self._woken_fd, False)
        os.set_blocking(self._wake_fd, False)
        for number in (*STOP_SIGNALS, KILL_SIGNAL, signal.SIGCHLD):
            signal.signal(number, self._note)
        signal.set_wakeup_fd(self._wake_fd, warn_on_full_buffer=False)
        self.child = _start(command)
        with suppress(OSError):
            os.write(lifeline_fd, f"{self.child}\n".encode())

    def hold(self) -> int:
        """Until the child ends, the supervisor is gone, or a signal says stop. Answers the child's exit code."""
        while not self.stopping and not self._ended():
            ready = self._wait(self.lifeline_fd)
            if self.lifeline_fd in ready and not self._read(self.lifeline_fd):
                self.stopping = True
        self._end_group()
        return self.exit_code if self.exit_code is not None else -int(signal.SIGKILL)

    def _end_group(self) -> None:
        """SIGTERM, a bounded wait, SIGKILL: for the child and whatever it has started in its group."""
        deadline = time.monotonic() + self.grace_s
        self._signal_group(signal.SIGTERM)
        while self._signal_group(0):
            if self.killing or time.monotonic() > deadline:
                self._signal_group(signal.SIGKILL)
            self._wait(timeout_s=POLL_S)
            self._ended()
        self._ended()

    def _ended(self) -> bool:
        """Reap what has ended, orphaned grandchildren too. True once the child itself has."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == self.child:
                    self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code is not None

    def _signal_group(self, number: int) -> bool:
        """False when nobody is left in the child's group."""
        try:
            os.killpg(self.child, number)
        except (ProcessLookupError, PermissionError):  # macOS: "not permitted" when only zombies are left
            return False
        return True

    def _wait(self, *fds: int, timeout_s: float | None = None) -> list[int]:
        ready, _, _ = select.select([*fds, self._woken_fd], [], [], timeout_s)
        if self._woken_fd in ready:
            self._read(self._woken_fd)
        return ready

    @staticmethod
    def _read(fd: int) -> bytes:
        try:
            return os.read(fd, 512)
        except OSError:
            return b""

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.stopping = True
            self.killing = self.killing or number == KILL_SIGNAL


def main(arguments: list[str]) -> int:
    """Further descriptors (the run lock) are held as long as the leash lives, and kept from the child.

    Exit code: the child's own, or 128 + the signal that ended it, as shells have it.
    """
    fds, grace_s, *command = arguments
    lifeline_fd, *held_fds = (int(fd) for fd in fds.split(","))
    for fd in (lifeline_fd, *held_fds):
        os.set_inheritable(fd, False)
    code = Leash(lifeline_fd, float(grace_s), command).hold()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
