"""Who may use the API: bearers of one of the configured keys. Without a configured key nobody may."""

import hashlib
import hmac
from collections.abc import Sequence

from apiflask import APIFlask
from flask import request
from pydantic import SecretStr

from crm_bridge.web.problems import Problem

#: Everything below is closed; what else there is tells nothing and takes nothing.
CLOSED = "/api/"
_CHALLENGE = 'Bearer realm="truetick"'


def register(app: APIFlask, api_keys: Sequence[SecretStr]) -> None:
    digests = [_digest(key.get_secret_value()) for key in api_keys]

    @app.before_request
    def require_key() -> None:
        if not request.path.startswith(CLOSED):
            return
        if not digests:
            raise Problem(
                503,
                "no_api_key_configured",
                "The API is closed because no key is configured. Set TRUETICK_API_KEYS to one or more long random "
                "texts, separated by commas, and restart the web server.",
            )
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem(
                401, "no_api_key", "Send the header `Authorization: Bearer KEY`.", WWW_Authenticate=_CHALLENGE
            )
        if not _known(token.strip(), digests):
            raise Problem(
                401,
                "wrong_api_key",
                "This key is not one of those in TRUETICK_API_KEYS.",
                WWW_Authenticate=f'{_CHALLENGE}, error="invalid_token"',
            )


def _known(token: str, digests: Sequence[bytes]) -> bool:
    """Compares with every key, in the same time wherever they differ."""
    given = _digest(token)
    found = False
    for digest in digests:
        found |= hmac.compare_digest(given, digest)
    return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
