"""Who may deliver webhooks: whoever knows the channel's webhook secret. Without a secret nobody may.

Strangers do not learn which channels there are: but for the default one, which is everywhere, all are refused alike.
What is wrong with a channel's secret is for the log, and for `truetick check`.

WaSender shows the secret itself in a header; there is no signature over the body (contract 7.2).
"""

import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from typing import NoReturn

import structlog

from crm_bridge.web.bounded import Bounded, TookTooLong
from crm_bridge.web.problems import Problem
from worker.channels.webhooks import sealed_secrets
from worker.database import snapshot
from worker.domain.channel_state import DEFAULT_CHANNEL
from worker.domain.errors import NotConfigured
from worker.parts import Parts

log = structlog.get_logger(__name__)

#: How long a secret that was changed or taken away still opens.
TRUSTED_S = 10.0
#: How soon a new one opens: a secret that does not fit has the database asked again, but not more often than this.
RECHECK_S = 1.0
#: How long the very first requests wait for the one that reads the secrets.
FIRST_READ_S = 4.0
#: How often refusals of one kind are logged at the most; anybody can cause them.
LOG_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A channel; `channel_id` None is the default one, before anything is stored for it."""

    channel_id: int | None
    #: Of its secret. None: there is none, or none that can be read.
    digest: bytes | None
    #: The code of what is wrong with its secret.
    problem: str | None = None


class WebhookAccess:
    """Keeps digests of the secrets of all channels, so that a known name and an unknown one take the same time."""

    def __init__(self, parts: Parts, database: Bounded) -> None:
        self._parts = parts
        self._database = database
        self._known: dict[str, _Known] = {}
        #: Digests by sealed secret, so that each is decrypted once.
        self._unsealed: dict[str, bytes | None] = {}
        self._read_at: float | None = None
        self._reading = threading.Lock()
        #: By code and channel, so that a stranger's guesses hide no secret that is missing.
        self._logged_at: dict[tuple[str, str | None], float] = {}
        #: Compared with where there is no secret, and fits nothing.
        self._dummy = secrets.token_bytes(32)

    def admit(self, channel: str, given: bytes) -> int | None:
        """The id of the channel whose secret was shown; None for a default channel that is not stored yet.

        Raises Problem: 401, and 503 for a default channel without a secret.
        """
        digest = hashlib.sha256(given).digest()
        self._read_again(after_s=TRUSTED_S)
        known = self._fitting(channel, digest)
        if known is None:
            self._read_again(after_s=RECHECK_S)
            known = self._fitting(channel, digest)
        if known is None:
            self._refuse(channel)
        return known.channel_id

    def _fitting(self, channel: str, digest: bytes) -> _Known | None:
        known = self._known.get(channel)
        expected = (known.digest if known is not None else None) or self._dummy
        return known if hmac.compare_digest(digest, expected) else None

    def _refuse(self, channel: str) -> NoReturn:
        known = self._known.get(channel)
        problem = known.problem if known is not None else None
        self._log(problem or "wrong_webhook_secret", channel if known is not None else None)
        if problem is None or channel != DEFAULT_CHANNEL:
            raise Problem(
                401,
                "wrong_webhook_secret",
                "The header X-Webhook-Signature does not hold the webhook secret of a channel of this name.",
            )
        if problem == "webhook_secret_missing":
            raise Problem(
                503,
                problem,
                f"Webhooks for channel {channel} are refused: it has no webhook secret. Set WASENDER_WEBHOOK_SECRET "
                "to the webhook secret that WaSender shows for the session.",
            )
        raise Problem(
            503,
            problem,
            f"Webhooks for channel {channel} are refused: its webhook secret cannot be decrypted. Set "
            "TRUETICK_SECRET_KEY to the key it was encrypted with.",
        )

    def _log(self, code: str, channel: str | None) -> None:
        """Only names of channels that there are; a stranger's may be anything."""
        now = time.monotonic()
        if now - self._logged_at.get((code, channel), -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged_at[code, channel] = now
            log.warning("webhook_refused", code=code, channel=channel)

    def _read_again(self, *, after_s: float) -> None:
        """Only one thread reads; the others go on with what is known, or wait where nothing is known yet."""
        if self._read_at is not None and time.monotonic() - self._read_at < after_s:
            return
        if not self._reading.acquire(timeout=FIRST_READ_S if self._read_at is None else 0):
            if self._read_at is None:
                raise TookTooLong
            return
        try:
            if self._read_at is None or time.monotonic() - self._read_at >= after_s:
                self._known = self._database.run(self._read)
                self._read_at = time.monotonic()
        finally:
            self._reading.release()

    def _read(self) -> dict[str, _Known]:
        with snapshot(self._parts.engine) as connection:
            rows = sealed_secrets(connection)
        known = {DEFAULT_CHANNEL: self._default(None)}
        unsealed = {}
        for row in rows:
            sealed = row.webhook_secret_encrypted
            if sealed is None:
                known[row.name] = self._default(row.id) if row.name == DEFAULT_CHANNEL else _without(row.id)
                continue
            unsealed[sealed] = self._unsealed[sealed] if sealed in self._unsealed else self._unseal(sealed)
            digest = unsealed[sealed]
            known[row.name] = _Known(
                channel_id=row.id, digest=digest, problem=None if digest else "webhook_secret_unusable"
            )
        self._unsealed = {sealed: digest for sealed, digest in unsealed.items() if digest}
        return known

    def _default(self, channel_id: int | None) -> _Known:
        given = self._parts.settings.gateway_webhook_secret
        secret = given.get_secret_value().strip() if given is not None else ""
        return _Known(channel_id=channel_id, digest=_digest(secret)) if secret else _without(channel_id)

    def _unseal(self, sealed: str) -> bytes | None:
        try:
            secret = self._parts.vault.open(sealed).get_secret_value().strip()
        except NotConfigured:
            return None
        return _digest(secret) if secret else None


def _without(channel_id: int | None) -> _Known:
    return _Known(channel_id=channel_id, digest=None, problem="webhook_secret_missing")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
