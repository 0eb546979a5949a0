"""One leased channel in a drain run's memory: when it may send next, and what its answers say about it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog
from pydantic import SecretStr

from worker.domain.evidence import Connection as Connectivity
from worker.domain.evidence import ConnectionReport
from worker.domain.outcomes import Cause, ChannelEffect, Outcome, OutcomeKind
from worker.domain.pace import Pacing, rested
from worker.domain.refusals import KNOWN_TO_BE_ITS_OWN
from worker.domain.retry import backoff_s
from worker.outbox.claims import Finished
from worker.sending.senders import Job

log = structlog.get_logger(__name__)

#: What is said of a channel that rests for an hour without knowing why.
UNEXPLAINED = (
    "WaSender refused this channel as too fast, again and again, without a word on how long to wait, so it rests for "
    "an hour. Mostly a cap per day is used up: look at the plan in WaSender, and set TRUETICK_DAILY_CAP."
)
#: More in flight would only hide a slow gateway behind more doubt.
MOST_IN_FLIGHT = 4
#: The wait after trouble at WaSender, in seconds: doubling from the first to the most.
FIRST_BACKOFF_S = 1.0
MOST_BACKOFF_S = 30.0
#: The same after attempts without an answer: each of them puts a message in doubt.
MOST_DOUBT_BACKOFF_S = 300.0
#: So many refusals in a row that nothing confirms, over the time that a tick may take, are believed: they outweigh
#: WaSender's own "connected", and what it says in words only is so.
REFUSALS_BELIEVED = 3
#: Those of a message that is known to be refused alone have to go on so many times as long: a channel that has
#: something else to send in that time is not stopped by it.
ITS_OWN_FACTOR = 10.0
#: A lane that had nothing to claim while something is in flight is asked again after this.
ASK_AGAIN = timedelta(milliseconds=250)
#: A claimed message that waits for a free sender thread or a connection is looked at again after this.
NOT_STARTED_YET = timedelta(milliseconds=2)


#: Under these a word about the plan is about the plan, whichever message it answers; under others it may be about a
#: message's content, until another message is refused so as well.
_OF_THE_ACCOUNT = frozenset({401, 402, 403})


@dataclass(eq=False, kw_only=True)
class Lane:
    """One leased channel."""

    channel_id: int
    api_key: SecretStr = field(repr=False)
    pacing: Pacing
    #: As the pace and WaSender's wishes have it; `paced_at` heeds the daily cap as well, `opens_at` trouble, too.
    next_slot_at: datetime
    #: The rest after trouble at WaSender.
    rest_until: datetime | None = None
    #: The slot of the message that was claimed last.
    slot: datetime
    failures: int
    leased_at: datetime
    lease_until: datetime
    #: What a slot lies further away than the pace wants, anew for each; None: nothing.
    jitter: Callable[[], timedelta] | None = None
    in_flight: list[Job] = field(default_factory=list)
    #: Nothing to claim was found, so it is not asked again before this.
    ask_again_at: datetime | None = None
    #: No more claims: the channel is no longer up, no longer ours, or the run is ending.
    closing: bool = False
    #: Mute: a single message is tried, and the pause before the next one counts from its claim.
    probing: bool = False
    probed: bool = False
    #: An attempt ended without an answer, so the window begins anew.
    lost_an_answer: bool = False
    #: Since when every send is refused as "not connected" while WaSender's status says connected, or by words about
    #: the plan alone.
    refused_since: datetime | None = None
    #: The latest of these refusals, until what it says of the channel is written.
    refused: Finished | None = None
    #: The message (seq) that was refused last by such words; None once another was taken.
    refused_by_words: int | None = None
    #: A refusal that has to reach the channel's row.
    blocked_by: str | None = None
    report: ConnectionReport | None = None
    changed: bool = False
    #: POSTs that began before this knew nothing of the latest slowdown, so their refusal is no news.
    slowed_at: datetime | None = None
    #: Slots that were counted against the daily cap in a turn that is not committed yet.
    reserved: list[datetime] = field(default_factory=list)

    @property
    def paced_at(self) -> datetime:
        """The next slot, were there no trouble."""
        return self.pacing.allowed_from(self.next_slot_at)

    @property
    def opens_at(self) -> datetime:
        """The next slot."""
        return self.pacing.allowed_from(rested(self.next_slot_at, self.rest_until))

    @property
    def begin_before(self) -> datetime:
        """When a POST in the slot that was claimed last is too late: for the lease, or for the day it counts for."""
        if self.pacing.daily_cap is None:
            return self.lease_until
        return min(self.lease_until, self.pacing.day_ends(self.slot))

    def ready_at(self, now: datetime, lead: timedelta) -> datetime | None:
        """When the next claim may be made, `lead` before its slot; None while something has to end first."""
        if self.closing or len(self.in_flight) >= MOST_IN_FLIGHT:
            return None
        if self.in_flight and not self.in_flight[-1].is_under_way:
            # The slot after a message counts from the moment it stood on the wire. The longer that takes, the rarer a
            # look.
            slot = self.in_flight[-1].not_before
            return max(now, slot) + max(NOT_STARTED_YET, now - slot)
        if self.in_flight:
            self._count(self.in_flight[-1])
        earliest = self.opens_at - lead
        return max(earliest, self.ask_again_at or earliest)

    def _count(self, job: Job) -> None:
        """Let the next slot keep its distance from this POST, as far as it has come."""
        if (begun := job.written_at or job.started_at) is not None:
            self.next_slot_at = self.pacing.slot_after(begun, self.next_slot_at)

    def reserve(self, now: datetime) -> None:
        """Use up the slot for a message that is being claimed. It counts for the day at once, whatever follows."""
        self.slot = max(now, self.opens_at)
        self.next_slot_at = self.pacing.slot_after(self.slot)
        if self.jitter is not None:
            self.next_slot_at += self.jitter()
        self.pacing = self.pacing.counted(self.slot)
        self.reserved.append(self.slot)
        self.ask_again_at = None
        self.changed = True
        if self.probing:
            self.probed = self.closing = True

    def found_nothing(self, now: datetime) -> None:
        self.ask_again_at = now + ASK_AGAIN

    def absorb(self, job: Job) -> None:
        """Learn from an attempt that has ended: the slot it used, and what it says about the channel."""
        assert job.finished is not None
        self.in_flight.remove(job)
        self.ask_again_at = None
        self.changed = True
        self._count(job)
        if job.started_at is None:
            self.pacing = self.pacing.uncounted(job.not_before)
        done = job.finished
        if done.outcome.cause is Cause.NOT_STARTED:
            return  # nobody has heard from WaSender
        effect = done.outcome.channel_effect
        if effect is ChannelEffect.DOWN and job.confirms_down:
            self.report, self.closing = job.report, True
            return
        contradicted = job.report is not None and job.report.connection is Connectivity.CONNECTED
        if _is_by_words_alone(done.outcome) or (effect is ChannelEffect.DOWN and contradicted):
            self.refused_since, self.refused = self.refused_since or done.finished_at, done
        elif effect is not ChannelEffect.DOWN:
            self.refused_since = self.refused = None
        self.lost_an_answer |= done.outcome.kind is OutcomeKind.UNKNOWN
        if done.outcome.kind is OutcomeKind.ACCEPTED:
            self.pacing, self.refused_by_words = self.pacing.accepted(), None
        if effect is ChannelEffect.NONE:
            self.failures = 0
        elif _is_its_own(done):
            # As far as it takes to be believed, and no further: other messages' trouble is not to last the longer.
            self.failures = max(self.failures, min(self.failures + 1, REFUSALS_BELIEVED))
            self._rest(done.finished_at, FIRST_BACKOFF_S)
        elif effect is ChannelEffect.THROTTLE:
            self._slow_down(job, done.outcome.retry_after_s, done.finished_at)
        elif effect is ChannelEffect.BLOCK and self._is_blocked_by(done):
            self.blocked_by, self.closing = done.outcome.cause.value, True
        else:  # trouble at WaSender, or a refusal that nothing confirms
            self.failures += 1
            unknown = done.outcome.kind is OutcomeKind.UNKNOWN
            most_s = MOST_DOUBT_BACKOFF_S if unknown else MOST_BACKOFF_S
            self._rest(done.finished_at, backoff_s(self.failures, first_s=FIRST_BACKOFF_S, most_s=most_s))

    def _is_blocked_by(self, done: Finished) -> bool:
        """Is this refusal the channel's? One by words alone is, if they answered another message before this one."""
        if not _is_by_words_alone(done.outcome):
            return True
        former, self.refused_by_words = self.refused_by_words, done.claim.seq
        return former not in {None, done.claim.seq}

    def _rest(self, since: datetime, pause_s: float) -> None:
        self.rest_until = rested(since + timedelta(seconds=pause_s), self.rest_until)

    def follow(self, former: "Lane") -> None:
        """Keep what a former lane of this channel has in flight, and what it has learnt and could not write.

        Somebody else may have had the channel in between, so of each the more careful is kept.
        """
        self.in_flight = former.in_flight
        if not former.changed:
            return
        self.changed = True
        self.next_slot_at = max(self.next_slot_at, former.next_slot_at)
        self.rest_until = max(filter(None, (self.rest_until, former.rest_until)), default=None)
        self.pacing = replace(self.pacing, slowdown=max(self.pacing.slowdown, former.pacing.slowdown))
        self.failures, self.slowed_at = former.failures, former.slowed_at
        self.refused_since, self.refused = self.refused_since and former.refused_since, former.refused
        self.refused_by_words = former.refused_by_words
        self.report, self.blocked_by = former.report, former.blocked_by
        self.lost_an_answer, self.probed = former.lost_an_answer, former.probed
        self.closing = self.report is not None or self.blocked_by is not None

    def came_up_again(self) -> None:
        """WaSender's trouble, and whatever was to be waited for because of it, is over."""
        self.failures, self.rest_until = 0, None
        self.refused_since = self.refused = self.refused_by_words = None

    def refused_too_long(self, now: datetime, ack_timeout_s: float) -> bool:
        """Has WaSender refused every send for so long, one just now, that it is believed, though nothing confirms it?

        It takes longer where that one is known to be refused alone.
        """
        if self.refused_since is None or self.refused is None or self.failures < REFUSALS_BELIEVED:
            return False
        factor = ITS_OWN_FACTOR if _is_its_own(self.refused) else 1.0
        return now - self.refused_since >= timedelta(seconds=ack_timeout_s * factor)

    def _slow_down(self, job: Job, retry_after_s: float | None, refused_at: datetime) -> None:
        """WaSender refused although the pace was kept. Refusals of POSTs that were under way together are one."""
        if self.slowed_at is None or job.started_at is None or job.started_at > self.slowed_at:
            self.pacing = self.pacing.throttled(retry_after_s)
            self.slowed_at = refused_at
            if not retry_after_s and self.pacing.rests_unexplained:
                log.warning("refused_unexplained", channel_id=self.channel_id, advice=UNEXPLAINED)
        # A wait of nothing says nothing either.
        wait = timedelta(seconds=retry_after_s or self.pacing.unhinted_wait_s)
        self.next_slot_at = max(self.next_slot_at, refused_at + wait)


def _is_its_own(done: Finished) -> bool:
    """Is this refusal about the message alone, by all that is known? Others were taken between its earlier ones."""
    perhaps = done.outcome.cause is Cause.CHANNEL_DOWN or _is_by_words_alone(done.outcome)
    return perhaps and done.claim.refusals >= KNOWN_TO_BE_ITS_OWN


def _is_by_words_alone(outcome: Outcome) -> bool:
    """Is nothing but a word about the plan to be held against the channel?"""
    return outcome.cause is Cause.NO_SUBSCRIPTION and outcome.http_status not in _OF_THE_ACCOUNT
