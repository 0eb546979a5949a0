"""Whoever gets hold of the database has no key: neither of a channel, old or new, nor of its webhooks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from tests.channels.test_reconnecting import TOKEN
from wasender_sandbox.control import Sandbox
from worker.channels import registry, states
from worker.channels.registry import NewChannel
from worker.database import transaction
from worker.domain.errors import NotConfigured
from worker.domain.pace import Pace
from worker.key_rotation import rotate
from worker.parts import Parts

KEY, SECRET = "0123456789abcdef" * 4, "5f4dcc3b5aa765d61d8327deb882cf99"


def dumped(connection: Connection) -> str:
    """Every row of every table, as text."""
    rows = []
    for table in inspect(connection).get_table_names():
        rows += [repr(tuple(row)) for row in connection.execute(text(f'SELECT * FROM "{table}"'))]
    return "\n".join(rows)


@pytest.fixture
def parts(database_url: str, build: Callable[..., Parts], sandbox: Sandbox) -> Parts:
    sandbox.create_channel("sales", api_key=KEY)
    return build(database_url, WASENDER_PERSONAL_ACCESS_TOKEN=TOKEN)


def test_no_key_and_no_secret_stands_in_the_database_in_the_clear(
    parts: Parts, sandbox: Sandbox, tmp_path: Path
) -> None:
    channel = NewChannel(
        name="sales",
        pace=Pace(1, 5),
        api_key_encrypted=parts.vault.seal(KEY),
        webhook_secret_encrypted=parts.vault.seal(SECRET),
    )
    with transaction(parts.engine) as connection:
        channel_id = registry.add(connection, channel, parts.clock())
    rotate(parts, "sales", wait_s=0)
    rotated = sandbox.channel("sales")["api_key"]
    with transaction(parts.engine) as connection:
        states.replace_key(connection, channel_id, parts.vault.seal("another-" + KEY), now=parts.clock())
        registry.replace_webhook_secret(connection, channel_id, parts.vault.seal("another-" + SECRET))

    with parts.engine.connect() as connection:
        everything = dumped(connection)
    assert "key_replaced" in everything, "this would not find a key"
    secrets = {KEY, rotated, SECRET, TOKEN}
    assert not [secret for secret in secrets if secret in everything]
    for file in tmp_path.glob("truetick.db*"):
        kept = file.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in kept], file.name
    row = next(row for row in everything.splitlines() if "'sales'" in row)
    assert row.count("gAAAAA") == 2, "both are encrypted"


def test_another_secret_key_opens_nothing(parts: Parts, build: Callable[..., Parts], database_url: str) -> None:
    sealed = parts.vault.seal(KEY)
    stranger = build(database_url, TRUETICK_SECRET_KEY="YW5vdGhlci1rZXktb2YtMzItYnl0ZXMtZm9yLXRlc3Q=")
    with pytest.raises(NotConfigured, match="TRUETICK_SECRET_KEY"):
        stranger.vault.open(sealed)
    assert parts.vault.seal(KEY) != sealed, "equal keys look different"
