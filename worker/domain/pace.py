"""Pacing arithmetic: how many messages a channel may send, and when its next slot is.

A slot is never granted early, so a burst is impossible (GCRA with burst 1). What began late is made good only as far
as no time of the limit's length ever sees more than its messages: by hardly anything where the limit is one message,
by up to half an interval where it is many in a minute. Weakness: all that holds at our side of the network; the
margins cover the jitter of the way to WaSender. A network that jitters by more can earn a 429.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self

from worker.domain.errors import NotConfigured

#: The share by which slots are wider than the limit, and the least and most it adds in seconds. Where a limit is of
#: many messages, the margins of all their slots together cover the way.
MARGIN, MARGIN_OF_MANY = 0.015, 0.01
MARGIN_BOUNDS_S = (0.0015, 0.060)
#: What is left of the margin, by the limit's whole time, where a POST began late and its delay is made good.
CLOSEST_MARGIN = 0.01
CLOSEST_MARGIN_BOUNDS_S = (0.001, 0.050)
#: A slot may be reserved a little before the former one has begun.
RESERVED_EARLY = timedelta(seconds=1)

#: By how much a refusal as "too many" widens the interval, and the most it ever is: `256/60` on a session whose
#: account protection allows `1/5` has to slow down 21 times.
SLOWER_BY = 1.5
MOST_SLOWDOWN = 32.0
#: The share of the excess that each accepted message takes away. One refusal may be chance and is soon made good.
#: Several speak of a lower limit: each trial whether WaSender allows more again costs another one, and too many can
#: get a number restricted.
RECOVERY = 0.1
RECOVERY_WHEN_REPEATED = 0.02
#: A slowdown below this is none.
AS_GOOD_AS_NONE = 1.02
#: And this one only marks that WaSender asked to wait for a matter of hours, until it takes a message again.
MARK = 1.001
#: WaSender refused without a word on how long: the wait by how often in a row, with nothing taken in between. Five
#: seconds first, then the longest documented window (twice), then an hour, for only an exhausted daily cap lasts
#: longer than a minute. A refusal now and then, as a cap on requests at once gives, never climbs these stairs.
UNHINTED_WAITS_S = (5.0, 60.0, 60.0, 3600.0)
#: Whoever is told to wait for longer has used up a day's cap; the pace is not to blame for that.
LONGEST_WINDOW_S = 900.0

#: A capped channel does not send so close to midnight, where WaSender might count a POST for the other day.
MIDNIGHT_GUARD = timedelta(seconds=1)

_SPELLING = re.compile(r"\s*(\d{1,6})\s*/\s*(\d{1,6}(?:\.\d{1,3})?)\s*")


@dataclass(frozen=True)
class Pace:
    """At most `messages` in `seconds`, evenly spaced."""

    messages: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "1/5" (one message in five seconds) or "256/60". Raises NotConfigured for anything else."""
        match = _SPELLING.fullmatch(text)
        if match is None or int(match[1]) == 0 or float(match[2]) == 0:
            raise NotConfigured(
                f"The pace {text[:40]!r} is not understood. Write MESSAGES/SECONDS, such as 1/5 or 256/60.",
                code="bad_pace",
            )
        return cls(int(match[1]), float(match[2]))

    @property
    def closest_s(self) -> float:
        """Seconds from the moment at which a POST really began to the next slot, at the least.

        Any `messages` + 1 POSTs in a row are `messages` intervals apart, less what the first of them was late and was
        made good. So much of the margins of all these intervals may be used up, but for what covers the way.
        """
        margins_s = self.messages * (self.interval_s - self.seconds / self.messages)
        spare_s = margins_s - _bounded(self.seconds * CLOSEST_MARGIN, CLOSEST_MARGIN_BOUNDS_S)
        return self.interval_s - min(max(spare_s, 0.0), self.interval_s / 2)

    @property
    def interval_s(self) -> float:
        """Seconds from one slot to the next, margin included."""
        exact = self.seconds / self.messages
        margin = MARGIN if self.messages == 1 else MARGIN_OF_MANY
        return exact + _bounded(exact * margin, MARGIN_BOUNDS_S)

    def __str__(self) -> str:
        seconds = f"{self.seconds:.3f}".rstrip("0").rstrip(".")
        return f"{self.messages}/{seconds}"


@dataclass(frozen=True, kw_only=True)
class Pacing:
    """A channel's pace as it is kept at present: slowed down after refusals, and counted against its daily cap.

    Days are UTC, by the clock that all workers share.
    """

    pace: Pace
    #: 1 is the pace itself.
    slowdown: float = 1.0
    #: Refusals in a row that did not say how long to wait; the last accepted message ended the former row.
    unhinted: int = 0
    #: POSTs allowed in one day; None: as many as the pace allows.
    daily_cap: int | None = None
    posts_on: date | None = None
    posts_that_day: int = 0

    @classmethod
    def of(cls, row: Any) -> Self:
        """The pacing in a row that has the channel's columns."""
        return cls(
            pace=Pace(row.pace_messages, row.pace_seconds),
            slowdown=row.slowdown,
            daily_cap=row.daily_cap,
            posts_on=row.posts_on,
            posts_that_day=row.posts_that_day,
        )

    @property
    def interval(self) -> timedelta:
        """From one slot to the next."""
        return timedelta(seconds=self.pace.interval_s * self.slowdown)

    @property
    def closest(self) -> timedelta:
        """From the moment at which a POST really began to the next slot, at the least."""
        return timedelta(seconds=self.pace.closest_s * self.slowdown)

    @property
    def is_slowed(self) -> bool:
        return self.slowdown >= AS_GOOD_AS_NONE

    @property
    def was_refused(self) -> bool:
        """Did WaSender refuse as too much, and has it taken too little since to forget that?"""
        return self.slowdown > 1.0

    def slot_after(self, started_at: datetime, reserved_until: datetime | None = None) -> datetime:
        """The earliest next slot once a POST began at `started_at`; never before one already reserved.

        The daily cap is not looked at: see `allowed_from`.
        """
        if reserved_until is None:
            return started_at + self.interval
        return max(started_at + self.closest, reserved_until)

    def is_beyond_turn(self, slot: datetime, now: datetime) -> bool:
        """Is this next slot further away than the pace alone can put it?"""
        return slot > now + self.interval + RESERVED_EARLY

    # The daily cap

    def posts_on_day_of(self, at: datetime) -> int:
        """POSTs counted on the day of `at`; what was counted on a later day (a clock set back) counts as well."""
        return 0 if self.posts_on is None or at.astimezone(UTC).date() > self.posts_on else self.posts_that_day

    def is_used_up(self, at: datetime) -> bool:
        """Does the daily cap forbid a POST at this time?"""
        return self.daily_cap is not None and self.posts_on_day_of(at) >= self.daily_cap

    def allowed_from(self, slot: datetime) -> datetime:
        """The first moment from `slot` on at which the daily cap allows a POST."""
        if self.daily_cap is None:
            return slot
        slot = max(slot, _midnight(slot) + MIDNIGHT_GUARD)
        if slot >= self.day_ends(slot) or self.is_used_up(slot):
            return _midnight(slot, days=1) + MIDNIGHT_GUARD
        return slot

    def day_ends(self, slot: datetime) -> datetime:
        """From when on a POST would no longer belong to the day on which this slot is counted."""
        return _midnight(slot, days=1) - MIDNIGHT_GUARD

    def counted(self, slot: datetime) -> Self:
        """With one more POST, at `slot`."""
        day = slot.astimezone(UTC).date()
        if self.posts_on is None or day > self.posts_on:
            return replace(self, posts_on=day, posts_that_day=1)
        return replace(self, posts_that_day=self.posts_that_day + 1)

    def uncounted(self, slot: datetime) -> Self:
        """Without the POST counted at `slot`: it was proven that it never began."""
        if self.posts_on != slot.astimezone(UTC).date() or not self.posts_that_day:
            return self
        return replace(self, posts_that_day=self.posts_that_day - 1)

    def slot_in_turn(self, first: datetime, ahead: int, *, at_least: timedelta = timedelta()) -> datetime:
        """When the message with `ahead` others before it should go out, if the next one goes at `first`.

        `at_least` is from one to the next, where something else than the pace is slower. Raises OverflowError where
        no calendar reaches.
        """
        step = max(self.interval, at_least)
        first = self.allowed_from(first)
        if self.daily_cap is None or ahead < (left := self.daily_cap - self.posts_on_day_of(first)):
            return first + ahead * step
        days, place = divmod(ahead - left, self.daily_cap)
        return _midnight(first, days=1 + days) + MIDNIGHT_GUARD + place * step

    # Refusals as "too many", and recovery

    def throttled(self, retry_after_s: float | None = None) -> Self:
        """After a refusal although the pace was kept: slower, unless the wait tells that it is a matter of days.

        A wait of nothing says nothing of how long, either.
        """
        if retry_after_s is not None and retry_after_s > LONGEST_WINDOW_S:
            return replace(self, slowdown=max(self.slowdown, MARK))
        unhinted = self.unhinted if retry_after_s else min(self.unhinted + 1, len(UNHINTED_WAITS_S))
        return replace(self, slowdown=min(self.slowdown * SLOWER_BY, MOST_SLOWDOWN), unhinted=unhinted)

    def accepted(self) -> Self:
        """After a message that WaSender took: a little nearer to the pace again."""
        if not self.was_refused:
            return replace(self, unhinted=0) if self.unhinted else self
        share = RECOVERY if self.slowdown <= SLOWER_BY else RECOVERY_WHEN_REPEATED
        slowdown = 1.0 + (self.slowdown - 1.0) * (1.0 - share)
        return replace(self, slowdown=slowdown if slowdown >= AS_GOOD_AS_NONE else 1.0, unhinted=0)

    @property
    def unhinted_wait_s(self) -> float:
        """How long to wait after a refusal that did not say how long."""
        return UNHINTED_WAITS_S[max(0, self.unhinted - 1)]

    @property
    def rests_unexplained(self) -> bool:
        """Is it refused again and again without a word on why, so that a person should look?"""
        return self.unhinted == len(UNHINTED_WAITS_S)


def _bounded(seconds: float, bounds_s: tuple[float, float]) -> float:
    least, most = bounds_s
    return min(max(seconds, least), most)


def rested(slot: datetime, rest_until: datetime | None) -> datetime:
    """A channel's next slot where it rests after trouble as well."""
    return slot if rest_until is None else max(slot, rest_until)


def _midnight(at: datetime, *, days: int = 0) -> datetime:
    """The beginning of the day (UTC) of `at`, or of one some days later."""
    return datetime.combine(at.astimezone(UTC).date() + timedelta(days=days), time(), UTC)
