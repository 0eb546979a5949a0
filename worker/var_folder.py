"""Writing below the var folder, and below others that settings name: for their owner only, and what forbids it is
told in a sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.domain.errors import NotConfigured


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Raises NotConfigured where the folder cannot be made, or nothing be written there."""
    try:
        yield
    except OSError as error:
        raise NotConfigured(
            f"The folder {folder} cannot be written to ({error.strerror or type(error).__name__}). Correct its owner "
            "and rights, or name another one (TRUETICK_VAR_DIR, or DATABASE_URL where it holds the database).",
            code="not_writable",
        ) from None


def make_private(folder: Path) -> None:
    """Make a folder for its owner only: what the CRM writes to its customers is private. One that is there stays as a
    person made it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def make_private_file(path: Path) -> None:
    """Make an empty file for its owner only, unless it is there."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
