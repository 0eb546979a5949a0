"""What WaSender tells the holder of a personal access token: its sessions, their restart, and both of their logs.

Shapes only; how they are read from the wire stands in `worker.gateway.account_reports`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import SecretStr


class ProblemCode(StrEnum):
    """Why a question about the account has no answer."""

    #: Not one byte was written: DNS, refused, TLS, connect timeout.
    UNREACHABLE = "gateway_unreachable"
    #: The request may have been taken; nobody knows.
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    SERVER_ERROR = "gateway_error"
    UNREADABLE_ANSWER = "unreadable_answer"
    THROTTLED = "throttled"
    #: The rest lasts until a person mends it.
    BAD_ACCESS_TOKEN = "bad_access_token"  # noqa: S105 - a reason code
    NO_SUBSCRIPTION = "no_subscription"
    #: The account has no session of this number.
    UNKNOWN_SESSION = "unknown_session"
    WRONG_ADDRESS = "wrong_gateway_address"
    #: WaSender said no, in words that are none of the above.
    REFUSED = "gateway_refused"


_LASTING = frozenset(
    {
        ProblemCode.BAD_ACCESS_TOKEN,
        ProblemCode.NO_SUBSCRIPTION,
        ProblemCode.UNKNOWN_SESSION,
        ProblemCode.WRONG_ADDRESS,
        ProblemCode.REFUSED,
    }
)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """There is no answer. It says nothing about sessions or messages."""

    code: ProblemCode
    #: WaSender's own words, bounded, without credentials and numbers.
    detail: str = ""
    #: Seconds WaSender asked us to wait (`throttled` only); None when it did not say.
    retry_after_s: float | None = None

    @property
    def lasting(self) -> bool:
        """Would asking again only repeat it, until a person has mended something?"""
        return self.code in _LASTING


@dataclass(frozen=True, kw_only=True)
class SessionView:
    """A session as the account's list shows it. `api_key` tells which of our channels it is."""

    id: int
    name: str
    #: Masked, for a person to recognise.
    phone_number: str
    #: In lower case, such as `connected` or `need_scan`; empty when WaSender does not say.
    status: str
    #: None: WaSender does not say.
    account_protection: bool | None
    log_messages: bool | None
    api_key: SecretStr | None


@dataclass(frozen=True, kw_only=True)
class RestartReport:
    """WaSender's answer to a restart. It refuses while the session is not connected."""

    restarted: bool
    #: Its own words, bounded, without credentials and numbers.
    said: str = ""


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """One message that WaSender's log says was sent through the API."""

    #: The msgId, as far as anybody knows; see `worker.domain.log_match` for how that is verified.
    id: int
    #: Recipient and posted fields; None while the session does not log messages.
    to: str | None = field(repr=False)
    content: Mapping[str, object] | None = field(repr=False)
    #: `in_progress`, `sent` or `failed`, in lower case; other words stay as they are.
    status: str
    failed_reason: str | None
    #: WaSender names no zone; read as UTC.
    created_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class LogPage:
    """One page of the message log, in WaSender's order. None: the answer did not tell."""

    rows: tuple[LogRow, ...]
    current_page: int | None
    last_page: int | None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class SessionEvent:
    """One row of the session log, by the gateway's clock."""

    id: int
    #: `status_change`, `session_restarted`…
    event_type: str
    #: In lower case; empty when the row names none.
    status: str
    occurred_at: datetime


@dataclass(frozen=True, kw_only=True)
class SessionLogPage:
    """One page of the session log, in WaSender's order."""

    rows: tuple[SessionEvent, ...]
    current_page: int | None
    last_page: int | None
    #: The gateway's clock minus ours, in seconds, to about a second; None when its answer had no date.
    skew_s: float | None
