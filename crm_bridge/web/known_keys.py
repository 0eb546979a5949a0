"""Which keys open the API: those of the environment, known to the process, and those that a person made, asked of the
database and remembered for a few seconds."""

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from crm_bridge.web.bounded import Bounded
from crm_bridge.web.waking import Waker
from worker import access_tokens
from worker.access_tokens import Opening
from worker.database import DatabaseAway, snapshot, transaction
from worker.domain.access import ALL_SCOPES, Scope, digest, looks_made
from worker.parts import Parts

#: How long a key that was revoked may still open.
TRUSTED_S = 5.0
MOST_REMEMBERED = 1000
#: How exact `last_used_at` is.
NOTE_USE_EVERY_S = 60.0
#: How long a request waits for a database that has frozen, and how many may wait so.
DATABASE_WAIT_S = 4.0
DATABASE_CALLS = 8


@dataclass(frozen=True, kw_only=True)
class Bearer:
    """Whoever has shown a key. `name` tells nothing of the key."""

    name: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, kw_only=True)
class _Remembered:
    opening: Opening
    asked_at: float
    #: Until when it opens, by the monotonic clock; None: for ever.
    until: float | None


class KnownKeys:
    def __init__(self, parts: Parts, api_keys: Sequence[SecretStr]) -> None:
        self._parts = parts
        self._of_environment = [digest(key.get_secret_value()) for key in api_keys]
        self._database = Bounded(most=DATABASE_CALLS, wait_s=DATABASE_WAIT_S)
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._lock = threading.Lock()
        self._any_made = False
        self._noted_at: dict[int, float] = {}
        self._to_note: set[int] = set()
        self._noting = Waker(self._note)

    def of_environment(self, key: str) -> Bearer | None:
        """Compares with every configured key, in the same time wherever they differ. Asks nobody."""
        given, found = digest(key), None
        for number, known in enumerate(self._of_environment, start=1):
            if hmac.compare_digest(given, known):
                found = number
        return Bearer(name=f"environment:{found}", scopes=ALL_SCOPES) if found else None

    def is_remembered(self, key: str) -> bool:
        """Has it opened before? Then it is no guess."""
        return digest(key) in self._remembered

    def made(self, key: str) -> tuple[Bearer | None, str]:
        """The bearer of a key that a person made, or None and the code of what is wrong with it.

        May ask the database: raises TookTooLong, or what the database raises.
        """
        if not looks_made(key):
            return None, "wrong_api_key"
        known = self._recall(digest(key))
        if known is None:
            return None, "wrong_api_key"
        if known.opening.revoked:
            return None, "revoked_api_key"
        if known.until is not None and time.monotonic() >= known.until:
            return None, "expired_api_key"
        self._used(known.opening)
        return Bearer(name=f"token:{known.opening.token_id}", scopes=known.opening.scopes), ""

    def any_there(self) -> bool:
        """Is there a key at all? May ask the database, as `made`."""
        if not self._of_environment and not self._any_made:
            self._any_made = self._database.run(self._ask_for_any)
        return bool(self._of_environment) or self._any_made

    def _recall(self, key_digest: str) -> _Remembered | None:
        with self._lock:
            kept = self._remembered.get(key_digest)
        if kept is not None and time.monotonic() - kept.asked_at < TRUSTED_S:
            return kept
        found = self._database.run(lambda: self._ask(key_digest))
        with self._lock:
            self._remembered.pop(key_digest, None)
            if found is not None:
                self._remembered[key_digest] = found
                if len(self._remembered) > MOST_REMEMBERED:
                    self._remembered.popitem(last=False)
        return found

    def _ask(self, key_digest: str) -> _Remembered | None:
        asked_at = time.monotonic()
        now = self._parts.clock()
        with snapshot(self._parts.engine) as connection:
            opening = access_tokens.find(connection, key_digest)
        if opening is None:
            return None
        until = None if opening.until is None else asked_at + (opening.until - now).total_seconds()
        return _Remembered(opening=opening, asked_at=asked_at, until=until)

    def _ask_for_any(self) -> bool:
        with snapshot(self._parts.engine) as connection:
            return access_tokens.any_there(connection)

    def _used(self, opening: Opening) -> None:
        with self._lock:
            before = self._noted_at.get(opening.token_id)
            if before is not None and time.monotonic() - before < NOTE_USE_EVERY_S:
                return
            self._noted_at[opening.token_id] = time.monotonic()
            self._to_note.add(opening.token_id)
        self._noting.wake()

    def _note(self) -> None:
        """On a thread of its own: a note that cannot be written fails no request."""
        with self._lock:
            due, self._to_note = self._to_note, set()
        if due:
            with suppress(DBAPIError, *DatabaseAway), transaction(self._parts.engine) as connection:
                access_tokens.note_used(connection, sorted(due), self._parts.clock())
