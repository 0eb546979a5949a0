"""Keys that this machine makes for itself once and keeps under the var folder, readable by their owner only."""

import os
import secrets
from pathlib import Path

from worker.var_folder import make_private, writing_to


def kept_key(path: Path, size: int = 32) -> str:
    """The key in that file; made on the first call. Two first calls at once agree on one key."""
    with writing_to(path.parent):
        make_private(path.parent)
    key = _read(path)
    if key:
        return key
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_hex(size) + "\n")
    try:
        if path.exists():  # an empty file: nobody's key
            os.replace(fresh, path)
        else:
            os.link(fresh, path)
    except FileExistsError:
        pass  # somebody else was first
    finally:
        fresh.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
