"""When an endpoint may be called: always while it answers, one call at a time while it does not. Pure rules."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from worker.domain.retry import backoff_s

#: Different messages that are told to one endpoint at the same time.
AT_ONCE = 8
#: After so many failures in a row, one call at a time finds out whether it works again.
OPENS_AFTER = 3
#: The first and the longest pause between such calls, in seconds: a CRM that is back should not wait for long.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
#: The longest one after an answer that refuses (4xx): who answers is not down, and may take other messages.
LONGEST_PAUSE_AFTER_REFUSAL_S = 2.0
#: The pauses of one callback that is refused again and again.
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 3600.0
#: No endpoint may put callbacks off for longer, whatever its `Retry-After` says.
LONGEST_ASKED_PAUSE_S = 3600.0
#: An endpoint without a success for longer than this was away; what was put off meanwhile is due when it is back.
AWAY_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of telling an endpoint once."""

    #: What went wrong, in one sentence without the address's path; None: it was delivered.
    problem: str | None = None
    #: How long the endpoint asked to be left alone.
    retry_after_s: float = 0.0
    #: It answered, and does not want this one as it is.
    is_refusal: bool = False
    #: It will never take this one (410).
    is_final: bool = False

    @property
    def is_delivered(self) -> bool:
        return self.problem is None


DELIVERED = Verdict()


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an endpoint has fared lately."""

    failures: int
    next_try_at: datetime
    last_success_at: datetime | None
    problem: str | None

    @classmethod
    def of(cls, row: Any) -> Self:
        """As an `endpoints` row says."""
        return cls(
            failures=row.failures,
            next_try_at=row.next_try_at,
            last_success_at=row.last_success_at,
            problem=row.problem,
        )

    @property
    def is_in_trouble(self) -> bool:
        return self.failures >= OPENS_AFTER

    def was_away(self, now: datetime) -> bool:
        """Has nothing at all got through for a while?"""
        return self.is_in_trouble and (self.last_success_at is None or now - self.last_success_at > AWAY_AFTER)

    def room(self, now: datetime, in_flight: int) -> int:
        """How many more callbacks may be told now."""
        if now < self.next_try_at:
            return 0
        return max(0, (1 if self.is_in_trouble else AT_ONCE) - in_flight)

    def after(self, verdict: Verdict, now: datetime, *, was_probe: bool) -> "Standing":
        """How it stands after one call; `was_probe`: the call that began while it was in trouble already."""
        if verdict.problem is None:
            return Standing(failures=0, next_try_at=now, last_success_at=now, problem=None)
        # Those that were under way together when the trouble began count as one trouble, not as eight.
        failures = self.failures + 1 if was_probe or not self.is_in_trouble else self.failures
        longest_s = LONGEST_PAUSE_AFTER_REFUSAL_S if verdict.is_refusal else LONGEST_PAUSE_S
        pause_s = backoff_s(failures - OPENS_AFTER + 1, first_s=FIRST_PAUSE_S, most_s=longest_s)
        next_try_at = now + timedelta(seconds=max(pause_s, asked_pause_s(verdict)))
        return replace(
            self, failures=failures, next_try_at=max(self.next_try_at, next_try_at), problem=verdict.problem
        )


def retry_after_s(tries: int, verdict: Verdict) -> float:
    """How long a callback waits that was told in vain `tries` times."""
    return max(backoff_s(tries, first_s=FIRST_RETRY_S, most_s=LONGEST_RETRY_S), asked_pause_s(verdict))


def asked_pause_s(verdict: Verdict) -> float:
    """What the endpoint asked for, within reason."""
    return min(max(0.0, verdict.retry_after_s), LONGEST_ASKED_PAUSE_S)
