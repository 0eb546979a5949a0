"""Encrypts channel keys at rest and hands them out, unprintable, to whoever calls WaSender."""

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from worker.domain.errors import NotConfigured
from worker.settings import Settings
from worker.var_folder import make_private, writing_to

KEY_FILE = "secret-key"
#: How many secrets are kept decrypted: as many as a process has channels.
MOST_KNOWN = 4096


class Vault:
    """Knows `TRUETICK_SECRET_KEY`. On one machine without it, a key is made once and kept under the var folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fernet: Fernet | None = None
        #: Keys are asked for with every message, and decrypting one costs more than all else about it here.
        self._known = lru_cache(maxsize=MOST_KNOWN)(self._decrypt)

    def seal(self, secret: str) -> str:
        """Encrypt. Raises NotConfigured without a usable key."""
        return self._opened(may_create=True).encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> SecretStr:
        """Decrypt, once. Raises NotConfigured when the key is missing or another one sealed it."""
        return self._known(sealed)

    def _decrypt(self, sealed: str) -> SecretStr:
        try:
            return SecretStr(self._opened(may_create=False).decrypt(sealed.encode()).decode())
        except InvalidToken:
            raise NotConfigured(
                "A stored secret (a channel's key, or one of a webhook or callback) was encrypted with another "
                "TRUETICK_SECRET_KEY. Set the former one, or store it anew; a channel's key with: truetick channels "
                "set-key NAME",
                code="wrong_secret_key",
            ) from None

    def channel_key(self, sealed: str | None) -> SecretStr | None:
        """A channel's API key: its own, or the environment's for the default channel; None where there is none."""
        return self._settings.gateway_api_key if sealed is None else self.open(sealed)

    def _opened(self, *, may_create: bool) -> Fernet:
        if self._fernet is None:
            try:
                self._fernet = Fernet(self._key(may_create))
            except ValueError:
                raise NotConfigured(
                    "TRUETICK_SECRET_KEY must be 32 bytes in url-safe base64 (44 characters). Make one with: "
                    "python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'",
                    code="bad_secret_key",
                ) from None
        return self._fernet

    def _key(self, may_create: bool) -> bytes:
        given = self._settings.secret_key_given
        if given is not None:
            return given.get_secret_value().encode()
        kept = self._settings.var_dir / KEY_FILE
        if self._settings.one_machine_database:
            if may_create:
                with writing_to(kept.parent):
                    _create_once(kept)
            if kept.exists():
                return kept.read_bytes().strip()
        raise NotConfigured(
            "Channel keys are encrypted in the database, and TRUETICK_SECRET_KEY is not set. "
            "Set it to 32 random bytes in url-safe base64, the same for every process.",
            code="no_secret_key",
        )


def _create_once(path: Path) -> None:
    """The file appears with its whole key or not at all, and the first of several who make it wins."""
    if path.exists():
        return
    make_private(path.parent)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-") as fresh:  # readable by its owner only
        fresh.write(Fernet.generate_key())
        fresh.flush()
        os.fsync(fresh.fileno())
        with suppress(FileExistsError):
            os.link(fresh.name, path)
