"""Weekly maintenance: forgets what nobody needs any more. In small transactions, harmless when run twice or never."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection

from worker.callbacks import parked
from worker.database import transaction
from worker.outbox import known_numbers, media
from worker.parts import Parts

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """How many rows of each kind are gone."""

    files: int
    numbers: int
    callbacks: int


def maintain(parts: Parts) -> Forgotten:
    """Go through everything once, or until the process is asked to stop; the next week goes on."""
    forgotten = Forgotten(
        files=_forget_files(parts),
        numbers=_until_none_is_left(parts, known_numbers.forget_old, known_numbers.BATCH),
        callbacks=_until_none_is_left(parts, parked.forget_parked, parked.BATCH),
    )
    log.info("maintained", files=forgotten.files, numbers=forgotten.numbers, callbacks=forgotten.callbacks)
    return forgotten


def _forget_files(parts: Parts) -> int:
    count, after, more = 0, None, True
    while more and not parts.stopping.is_set():
        deleted, after = _next_files(parts, after)
        count += deleted
        more = after is not None
    return count


def _next_files(parts: Parts, after: UUID | None) -> tuple[int, UUID | None]:
    with transaction(parts.engine) as connection:
        return media.forget_unused(connection, parts.clock(), after=after)


def _until_none_is_left(parts: Parts, forget: Callable[[Connection, datetime], int], most: int) -> int:
    count, batch = 0, most
    while batch >= most and not parts.stopping.is_set():
        with transaction(parts.engine) as connection:
            batch = forget(connection, parts.clock())
        count += batch
    return count
