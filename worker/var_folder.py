"""Writing below the var folder, and below others that settings name: what forbids it is told in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
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
