"""Channel states, what moves a channel between them, and what a person should do about each."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.domain.evidence import Connection, ConnectionReport
from worker.domain.outcomes import Cause


class ChannelState(StrEnum):
    #: Not checked yet.
    UNKNOWN = "unknown"
    #: WaSender says connected and nothing speaks against it. The only state that sends.
    UP = "up"
    #: WaSender says the WhatsApp session is not connected.
    DOWN = "down"
    #: WaSender says connected, but no tick comes.
    MUTE = "mute"
    #: The key, the plan or the address is refused; a person has to mend it.
    BLOCKED = "blocked"
    #: A person said so.
    PAUSED = "paused"


C = ChannelState

#: The channel whose key stands in the workers' environment; every other one's stands encrypted in the database.
DEFAULT_CHANNEL = "default"

#: What channels and pools may be called.
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"

#: Why a channel is paused while its key is replaced.
KEY_ROTATION = "key_rotation"

#: Why a channel is blocked that has no key to send with, and one that was paused without one. Only workers know: the
#: default channel's key stands in their environment.
NO_API_KEY = "no_api_key"

#: Why a channel is mute whose session was lost and is connected again since it fell silent.
CONNECTED_AGAIN = "connected_again"

#: A refusal that `GET /status` does not show is believed this long before one message tries again.
BLOCK_RETRY_AFTER = timedelta(minutes=10)
#: Blocks that a good answer of `GET /status` disproves at once.
DISPROVED_BY_STATUS = frozenset(
    {Cause.BAD_KEY, Cause.WRONG_CREDENTIAL, NO_API_KEY, "no_secret_key", "bad_secret_key", "wrong_secret_key"}
)


@dataclass(frozen=True)
class ChannelVerdict:
    state: ChannelState
    reason: str


def lacks_key(state: ChannelState, reason: str) -> bool:
    """Has it no key to send with, by what a worker found out?"""
    return state in {C.BLOCKED, C.PAUSED} and reason == NO_API_KEY


def state_after_report(
    state: ChannelState,
    reason: str,
    since: datetime,
    report: ConnectionReport,
    now: datetime,
    *,
    tick_awaited: bool = False,
) -> ChannelVerdict | None:
    """What WaSender's answer to "are you connected?" makes of a channel; None where it brings no news.

    `tick_awaited`: it was mute, and nothing has been ticked since, so its "connected" leads back to mute, whatever
    it said in between.
    """
    if state is C.PAUSED or report.connection is Connection.UNVERIFIED:
        return None
    if report.connection is Connection.CONNECTED and state is C.MUTE:
        return None  # it said so all along; only a tick speaks for it
    if report.connection is Connection.CONNECTED:
        stands = state is C.BLOCKED and reason not in DISPROVED_BY_STATUS and now - since < BLOCK_RETRY_AFTER
        back = ChannelVerdict(C.MUTE, CONNECTED_AGAIN) if tick_awaited else ChannelVerdict(C.UP, report.word)
        after = ChannelVerdict(C.BLOCKED, reason) if stands else back
    elif report.connection is Connection.REFUSED:
        after = ChannelVerdict(C.BLOCKED, report.word)
    else:
        after = ChannelVerdict(C.DOWN, report.word)
    return None if (after.state, after.reason) == (state, reason) else after


#: WaSender's words for a session that cannot send, and what helps. Source: the contract on session statuses.
_REMEDY_OF_WORD = {
    "need_scan": "Scan the QR code: truetick channels reconnect {name}, or open the session in WaSender.",
    "need_passkey": "Approve the passkey request on the phone, or link it again by QR code in WaSender.",
    "logged_out": "The phone has unlinked this session. Link it again by QR code: "
    "truetick channels reconnect {name}, or open the session in WaSender.",
    "expired": "The session can no longer be resumed. Link the phone again by QR code: "
    "truetick channels reconnect {name}, or open the session in WaSender.",
    "connecting": "WaSender is reconnecting by itself. If it lasts longer than five minutes, restart the session.",
    "disconnected": "WaSender has lost the phone. Check that it is online; if it lasts, restart the session.",
    Cause.BAD_KEY: "Give it the session's API key from WaSender: truetick channels set-key {name}",
    NO_API_KEY: "Give it the session's API key from WaSender: truetick channels set-key {name}",
    "no_secret_key": "Set TRUETICK_SECRET_KEY to the key that encrypted this channel, and restart.",
    "bad_secret_key": "TRUETICK_SECRET_KEY is not 32 bytes in url-safe base64 (44 characters). "
    "Set it to the key that encrypted this channel, and restart.",
    "wrong_secret_key": "Set TRUETICK_SECRET_KEY to the key that encrypted this channel, and restart. "
    "If that key is lost, give it the session's API key anew: truetick channels set-key {name}",
    Cause.WRONG_CREDENTIAL: "Give it the session's API key, not the personal access token: "
    "truetick channels set-key {name}",
    Cause.NO_SUBSCRIPTION: "Renew the WaSender subscription. Sending is tried again every ten minutes.",
    Cause.WRONG_ADDRESS: "Correct WASENDER_BASE_URL (https://www.wasenderapi.com/api) and restart; "
    "then let it go on at once with: truetick channels resume {name}",
}
_REMEDY_OF_DEFAULT = {
    Cause.BAD_KEY: "Copy the session's API key from WaSender into WASENDER_API_KEY and restart.",
    NO_API_KEY: "Set WASENDER_API_KEY to the session's API key from WaSender and restart.",
    Cause.WRONG_CREDENTIAL: "Set WASENDER_API_KEY to the session's API key, not to the personal access token.",
}


def remedy(state: ChannelState, reason: str, name: str) -> str | None:
    """What a person should do so that this channel sends again; None while it is up."""
    if state is C.UP:
        return None
    if state is C.UNKNOWN:
        return "The channel has not been checked yet. Is a worker running (truetick up)?"
    if state is C.PAUSED and reason == KEY_ROTATION:
        return f"Its key is being replaced. If that was interrupted, do it again: truetick channels rotate-key {name}"
    if state is C.PAUSED:
        return f"A person paused it. Let it go on with: truetick channels resume {name}"
    if state is C.MUTE and reason == CONNECTED_AGAIN:
        return "Wait for the next single message: its tick shows that the session is back. If none comes, restart it."
    if state is C.MUTE:
        return "WaSender says connected, but WhatsApp ticks nothing. Restart the session in WaSender."
    known = _REMEDY_OF_WORD | (_REMEDY_OF_DEFAULT if name == DEFAULT_CHANNEL else {})
    return known.get(reason, "Look at the session in WaSender and link the phone again.").format(name=name)
