"""What a diagnosis judges by: what was asked, and what came back, be it an answer or the lack of one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import SecretStr

from worker.diagnosis.broker_line import QueueLook, WorkerReport
from worker.diagnosis.database_look import ChannelFacts, DatabaseLook
from worker.domain.account import Problem, SessionView
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Connection, ConnectionReport
from worker.settings import Settings

#: A personal access token, which many a user takes for a key: `12|…`. Source: the contract on credentials.
_ACCESS_TOKEN = re.compile(r"\s*\d+\|")


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """There is no answer. `sentence` says so for people."""

    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Sounding:
    """WaSender's answer to "are you connected?", asked for this diagnosis."""

    report: ConnectionReport
    took_s: float
    #: WaSender's clock minus ours, in seconds; None where its answer did not tell.
    skew_s: float | None = None

    @property
    def answered(self) -> bool:
        """Did WaSender itself answer, whatever it said?"""
        return self.report.connection is not Connection.UNVERIFIED or self.report.word == "throttled"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A channel under examination."""

    name: str
    #: What is stored about it; None where the database does not tell.
    facts: ChannelFacts | None = None
    key: SecretStr | None = field(default=None, repr=False)
    #: Why this process cannot read the key (a code); None where it can, or where there is none.
    key_problem: str | None = None
    #: There is a webhook secret that this process cannot decrypt.
    webhook_secret_unusable: bool = False
    #: None: it was not asked about, for want of a key or because there are many channels.
    sounding: Sounding | None = None

    @property
    def key_is_access_token(self) -> bool:
        return self.key is not None and looks_like_access_token(self.key)

    @property
    def keyless(self) -> bool:
        """As far as anybody knows, there is no key to send with: neither here nor at a worker."""
        if self.key is not None or self.key_problem is not None:
            return False
        return self.facts is None or self.facts.row.checked_at is None or not self.facts.standing.has_key

    @property
    def waiting(self) -> int:
        """How many of its messages are pending."""
        return self.facts.standing.pending if self.facts else 0

    @property
    def what_waits(self) -> str:
        return "one message waits" if self.waiting == 1 else f"{self.waiting:,} messages wait"

    @property
    def verified_at(self) -> datetime | None:
        """When WaSender last answered a worker about it, if that is lately enough to trust."""
        if self.facts is None or not self.facts.standing.verified:
            return None
        return self.facts.standing.checked_at

    @property
    def state(self) -> ChannelState | None:
        return self.facts.standing.state if self.facts else None


@dataclass(frozen=True, kw_only=True)
class Facts:
    #: The database's time, or this process's where the database does not tell.
    now: datetime
    settings: Settings
    gateway_url: str
    database: DatabaseLook | Trouble
    #: The channels asked for; of many those come first that give most reason to look.
    subjects: Sequence[Subject]
    #: Whether a connection to WaSender comes about; None where more was asked, or it does.
    unreachable: Trouble | None
    #: The account's sessions; None without a personal access token.
    account: tuple[SessionView, ...] | Problem | Trouble | None
    queue: QueueLook | Trouble
    workers: Sequence[WorkerReport] | Trouble
    beats: Sequence[str] | Trouble

    def session_of(self, subject: Subject) -> SessionView | None:
        """The session behind a channel, as the account's list shows it."""
        if not isinstance(self.account, tuple):
            return None
        number = subject.facts.row.gateway_session_id if subject.facts else None
        for session in self.account:
            by_number = session.id == number and (session.api_key is None or subject.key is None)
            if by_number or (subject.key is not None and session.api_key == subject.key):
                return session
        return None


def looks_like_access_token(secret: SecretStr) -> bool:
    return _ACCESS_TOKEN.match(secret.get_secret_value()) is not None
