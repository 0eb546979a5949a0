"""Signs callbacks by the Standard Webhooks scheme, and knows what a signing secret looks like."""

import base64
import binascii
import secrets
from datetime import datetime
from typing import Final

from pydantic import SecretStr
from standardwebhooks import Webhook

from worker.domain.errors import InvalidRequest

PREFIX: Final = "whsec_"
#: What Standard Webhooks asks of a secret, in bytes.
SHORTEST, LONGEST = 24, 64
_MADE_BYTES = 32


def new_secret() -> str:
    """A fresh secret, as receivers' libraries take it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_MADE_BYTES)).decode()


def checked_secret(given: str) -> str:
    """The secret as it is kept. Raises InvalidRequest, which does not show it."""
    written = given.strip().removeprefix(PREFIX)
    try:
        padded = written + "=" * (-len(written) % 4)
        key = base64.b64decode(padded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        key = b""
    if not SHORTEST <= len(key) <= LONGEST:
        raise InvalidRequest(
            f"The signing secret has to be {PREFIX} and {SHORTEST} to {LONGEST} random bytes in base64. "
            "Leave it out to have one made, or make one with: "
            """python -c "import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"""",
            code="bad_secret",
        )
    return PREFIX + base64.b64encode(key).decode()


def signed_headers(secret: SecretStr, callback_id: str, body: str, now: datetime) -> dict[str, str]:
    """The three headers by which a receiver knows the callback, and that it is ours. `now` has to be in UTC."""
    signature = Webhook(secret.get_secret_value()).sign(callback_id, now, body)
    return {
        "webhook-id": callback_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
