"""What a deployment needs from outside: the secrets of docker-compose.yml."""

import base64
import secrets

import pytest


@pytest.fixture
def secrets_given() -> dict[str, str]:
    """What the comment at the head of docker-compose.yml says to set."""
    return {
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "VALKEY_PASSWORD": secrets.token_hex(24),
        "FLOWER_PASSWORD": secrets.token_hex(24),
        "TRUETICK_API_KEYS": secrets.token_hex(32),
        "TRUETICK_SECRET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "WASENDER_API_KEY": secrets.token_hex(32),
    }
