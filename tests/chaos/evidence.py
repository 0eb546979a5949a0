"""All that is known at the end of a run, as plain values: what the judge judges. All times are Unix seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from wasender_sandbox.records import LedgerEntry


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A message as Truetick's database has it."""

    seq: int
    id: UUID
    channel: str
    recipient: str | None
    #: 0 transactional, 1 bulk.
    rank: int
    due_at: float
    text: str
    state: str
    #: Why it failed, or why a person should look at it.
    error_code: str | None
    attention: str | None
    resends: int
    #: When its storing was committed; None where the database does not tell, then its first event's id counts.
    committed_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stored transition of a message."""

    id: int
    seq: int
    at: float
    source: str
    before: str | None
    after: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A message that the CRM handed over, perhaps several times. What promises: a 202, or the broker's taking it."""

    id: UUID
    text: str
    #: http or task.
    way: str
    #: When it was tried last: the try that was promised, if any was.
    begun_at: float
    promised: bool


@dataclass(frozen=True, kw_only=True)
class Mute:
    """A time in which the sandbox kept a channel mute."""

    channel: str
    began_at: float
    ended_at: float
    then: str


@dataclass(frozen=True, kw_only=True)
class Outage:
    """An outage as Truetick recorded it."""

    channel: str
    state: str
    began_at: float
    noticed_at: float
    ended_at: float | None
    #: The messages (seq) whose fate was open in it.
    at_risk: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """A time in which something that noticing rests on was broken: a process, a server, or the way to WaSender."""

    began_at: float
    ended_at: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One run, finished."""

    messages: Sequence[Stored]
    #: In the order of their ids.
    steps: Sequence[Step]
    ledger: Sequence[LedgerEntry]
    rate_violations: int
    offers: Sequence[Offer]
    #: When the broker was emptied: what it held then is its own loss.
    flushed_at: Sequence[float] = ()
    #: Ids of messages whose tasks the broker still holds: not stored yet, not lost either.
    in_broker: frozenset[UUID] = frozenset()
    mutes: Sequence[Mute] = ()
    outages: Sequence[Outage] = ()
    #: HTTP statuses that hostile webhooks were answered with.
    hostile_answers: Sequence[int] = ()
    #: Processes that ended although nobody ended them, with their last words.
    died: Sequence[str] = ()
    #: How many messages of a channel may be without a tick at once: the window, and what is in flight.
    most_at_risk: int = 24
    #: When noticing a mute spell may have been held up, and how long it may take when it was not.
    disturbances: Sequence[Disturbance] = ()
    notice_within_s: float = 60.0
