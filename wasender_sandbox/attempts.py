"""Every POST to /send-message, accepted or not: when it arrived, what was decided and why."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

#: Reasons that mean the send limit itself was broken; the daily cap and the concurrency cap have their own words.
THROTTLE = "throttle"


class Attempt:
    """One POST: `pending` until it is accepted or refused. Times are Unix seconds.

    `answer` is the HTTP status the client saw, 0 when it got none.
    """

    __slots__ = (
        "answer",
        "answered_at",
        "arrived_at",
        "channel",
        "decision",
        "in_flight",
        "index",
        "msg_id",
        "reason",
        "recipient",
        "to",
    )

    def __init__(self, index: int, arrived_at: float) -> None:
        self.index = index
        self.arrived_at = arrived_at
        self.answered_at: float | None = None
        self.channel = ""
        self.to = ""
        self.recipient = ""
        self.decision = "pending"
        self.reason = ""
        self.msg_id: int | None = None
        self.answer = 0
        self.in_flight = 0

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Attempts:
    """All attempts in order of arrival, with running counts per channel."""

    def __init__(self) -> None:
        self.entries: list[Attempt] = []
        self.reasons: dict[str, Counter[str]] = {}

    def open(self, arrived_at: float) -> Attempt:
        attempt = Attempt(len(self.entries), arrived_at)
        self.entries.append(attempt)
        return attempt

    def close(self, attempt: Attempt, answered_at: float) -> None:
        attempt.answered_at = answered_at
        if attempt.decision == "pending":
            attempt.decision, attempt.reason = "refused", "client_left"
        counts = self.reasons.setdefault(attempt.channel, Counter())
        counts[attempt.reason if attempt.decision == "refused" else "accepted"] += 1

    def rate_violations(self, channel: str | None = None) -> int:
        """POSTs answered 429 by the send limit."""
        if channel is not None:
            return self.reasons.get(channel, Counter())[THROTTLE]
        return sum(counts[THROTTLE] for counts in self.reasons.values())

    def select(
        self,
        *,
        after: int = -1,
        channel: str | None = None,
        to: str | None = None,
        decision: str | None = None,
        reason: str | None = None,
    ) -> Iterator[Attempt]:
        """Attempts with index > `after` that match every given filter."""
        for position in range(after + 1, len(self.entries)):
            attempt = self.entries[position]
            if (
                (channel is None or attempt.channel == channel)
                and (to is None or attempt.to == to)
                and (decision is None or attempt.decision == decision)
                and (reason is None or attempt.reason == reason)
            ):
                yield attempt
