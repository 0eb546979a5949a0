"""Which of the account's sessions a channel is. Without a personal access token nobody can tell."""

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from worker.channels import registry
from worker.database import snapshot, transaction
from worker.domain.account import Problem, SessionView
from worker.domain.account_trouble import trouble
from worker.domain.errors import Conflict, NotConfigured
from worker.gateway.account import AccountClient
from worker.models import Channel
from worker.parts import Parts

_BY_HAND = (
    "Set WASENDER_PERSONAL_ACCESS_TOKEN (WaSender's settings, personal access tokens), or do it by hand: open the "
    "session of this channel at https://www.wasenderapi.com"
)
SCAN_BY_HAND = (
    f"Truetick has no personal access token to ask WaSender for the QR code of channel {{name}}. {_BY_HAND}, choose "
    "Connect, and scan the code with WhatsApp on the phone (Settings, Linked devices, Link a device)."
)
ROTATE_BY_HAND = (
    f"Truetick has no personal access token to ask WaSender for a new key for channel {{name}}. {_BY_HAND}, "
    "regenerate its API key there, and give it to the channel: truetick channels set-key {name}"
)


@dataclass(frozen=True, kw_only=True)
class Linked:
    """A channel (its row) and its session. `by_key`: it is proven, for WaSender lists it with the channel's key."""

    channel: Any
    session: SessionView
    account: AccountClient
    key: SecretStr | None
    by_key: bool


def find(parts: Parts, name: str, *, by_hand: str) -> Linked:
    """The session of the channel of this name, by its key; by its number where the key tells nothing.

    Raises NotFound for an unknown channel, Conflict without a token (`no_access_token`: `by_hand` says what a person
    can do) or such a session (`unknown_session`), and GatewayTrouble.
    """
    with snapshot(parts.engine) as connection:
        channel_id = registry.channel_id(connection, name)
        row = connection.execute(select(Channel.__table__).where(Channel.id == channel_id)).one()
    if parts.account is None:
        raise Conflict(by_hand.format(name=name), code="no_access_token")
    sessions = parts.account.sessions()
    if isinstance(sessions, Problem):
        raise trouble(sessions, because=f"The session of channel {name} could not be looked up.")
    key = _key(parts, row)
    by_key = next((one for one in sessions if key is not None and one.api_key == key), None)
    by_number = next((one for one in sessions if one.id == row.gateway_session_id), None)
    session = by_key or by_number
    if session is None:
        raise Conflict(
            f"The account of the personal access token has no session with the key of channel {name}. Is the token "
            f"of the same account? Else give the channel its session's key: truetick channels set-key {name}",
            code="unknown_session",
        )
    if by_key is not None and row.gateway_session_id != by_key.id:
        with transaction(parts.engine) as connection:
            registry.note_session_id(connection, row.id, by_key.id)
    return Linked(channel=row, session=session, account=parts.account, key=key, by_key=by_key is not None)


def _key(parts: Parts, row: Any) -> SecretStr | None:
    try:
        return parts.vault.channel_key(row.api_key_encrypted)
    except NotConfigured:
        return None
