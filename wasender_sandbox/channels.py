"""A channel: one WhatsApp number behind one WaSender session key, with its limits, its settings and its log."""

import re
from collections import deque
from dataclasses import dataclass, field

from wasender_sandbox.errors import ControlError
from wasender_sandbox.ledger import Entry
from wasender_sandbox.recipients import digits_of
from wasender_sandbox.spans import Span
from wasender_sandbox.throttle import DailyCap, Limit, Throttle

STATUSES = (
    "connecting",
    "connected",
    "disconnected",
    "need_scan",
    "need_passkey",
    "logged_out",
    "expired",
    "error",
)

WEBHOOK_EVENTS = (
    "messages.update",
    "message.sent",
    "messages.upsert",
    "messages.received",
    "messages-personal.received",
    "session.status",
    "qrcode.updated",
)

ACCOUNT_PROTECTION = Limit(1, 5.0)
PAID = Limit(256, 60.0)

_ALIASES = {"up": "connected", "down": "disconnected"}


def read_status(word: str) -> str:
    """A status word in any case; `up` and `down` are understood."""
    status = _ALIASES.get(word.lower(), word.lower())
    if status not in STATUSES:
        raise ControlError(
            f"There is no status {word!r}. Statuses: {', '.join(STATUSES)} (also up, down, banned, drop)."
        )
    return status


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """A row of the session log."""

    id: int
    event_type: str
    status: str
    occurred_at: float


@dataclass(slots=True, kw_only=True)
class Channel:
    """State of one channel. `status` is the truth; `says` is what the API claims instead, when set."""

    id: int
    name: str
    api_key: str
    phone_number: str
    created_at: float
    status: str = "connected"
    says: str | None = None
    muted: bool = False
    #: What happens to messages taken while mute: later, failed or stuck; None follows the switch.
    muted_then: str | None = None
    plan: str = "paid"
    limit: Limit | None = None
    limit_mode: str = "fixed"
    daily_cap: int = 0
    account_protection: bool = False
    log_messages: bool = True
    webhook_url: str | None = None
    webhook_secret: str = ""
    webhook_enabled: bool = True
    webhook_events: list[str] | None = None
    settings: dict[str, object] = field(default_factory=dict)
    updated_at: float = 0.0
    latency_before: Span | None = None
    latency_after: Span | None = None
    in_flight: int = 0
    max_in_flight: int = 0
    qr_count: int = 0
    restarts: int = 0
    acked: int = 0
    entries: list[Entry] = field(default_factory=list)
    #: Messages waiting for the session to come back, with the code they wait for.
    held: deque[tuple[Entry, int]] = field(default_factory=deque)
    history: list[SessionEvent] = field(default_factory=list)
    throttle: Throttle = field(init=False)
    daily: DailyCap = field(init=False)

    def __post_init__(self) -> None:
        self.updated_at = self.updated_at or self.created_at
        self.set_limit(self.limit, self.limit_mode)
        self.daily = DailyCap(self.daily_cap)

    def set_limit(self, limit: Limit | None, mode: str | None = None) -> None:
        """Start a new, empty window with this limit."""
        self.limit = limit
        self.limit_mode = mode or self.limit_mode
        self.throttle = Throttle(limit, self.limit_mode)

    def set_daily_cap(self, cap: int) -> None:
        self.daily_cap = cap
        self.daily = DailyCap(cap)

    @property
    def connected(self) -> bool:
        return self.status == "connected"

    @property
    def claimed_status(self) -> str:
        """What `GET /status` and session lists say."""
        return self.says or self.status

    @property
    def own_digits(self) -> str:
        return digits_of(self.phone_number)

    def wants(self, event: str) -> bool:
        """Whether this event goes to the channel's webhook."""
        return bool(
            self.webhook_url
            and self.webhook_enabled
            and (self.webhook_events is None or event in self.webhook_events)
        )

    def record(self, event_type: str, occurred_at: float) -> None:
        self.history.append(SessionEvent(len(self.history) + 1, event_type, self.status, occurred_at))
        self.updated_at = occurred_at


def check_name(name: str) -> str:
    if not re.fullmatch(r"[\w .@+-]{1,80}", name):
        raise ControlError(f"{name!r} is not a channel name: use up to 80 letters, digits, spaces or . _ @ + -")
    return name
