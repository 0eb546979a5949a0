"""TCP ports of this machine: is one free, and a free one for those who don't mind which."""

import errno
import socket

from worker.stack.errors import StackFailed


def require_free(host: str, port: int, *, what: str, option: str) -> None:
    """Raise StackFailed when `port` cannot be listened on, naming the option that chooses another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StackFailed(
                f"Port {port} for {what} {_reason(error, port)}. Choose another, such as {option} {port + 1}.",
                code="port_in_use",
            ) from None


def _reason(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        airplay = " (on a Mac, AirPlay Receiver likes to take it)" if port == 5000 else ""
        return f"is already in use by another program{airplay}"
    if error.errno == errno.EACCES:
        return "needs more rights than this user has"
    return f"cannot be used ({error.strerror})"


def free_port() -> int:
    """A port that was free a moment ago. Weakness: another program may take it before its user does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
