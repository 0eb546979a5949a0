"""The channels that a drain run has leased, in memory: when each may send next, and what is in flight on it.

A lane decides nothing alone: what it plans is written to the channel's row in the turn's transaction, and only a
committed claim is POSTed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, bindparam, select, update

from worker.channels import states
from worker.domain.evidence import Connection as Connectivity
from worker.domain.evidence import ConnectionReport
from worker.domain.outcomes import ChannelEffect
from worker.domain.pace import Pace
from worker.domain.retry import backoff_s
from worker.models import Channel
from worker.outbox.claims import Claim
from worker.outbox.events import Source
from worker.sending.senders import Job

#: More in flight would only hide a slow gateway behind more doubt.
MOST_IN_FLIGHT = 4
#: The wait after trouble at WaSender, in seconds: doubling from the first to the most.
FIRST_BACKOFF_S = 1.0
MOST_BACKOFF_S = 30.0
#: How long a throttled channel waits when WaSender does not say.
THROTTLED_S = 5.0
#: A lane whose slot passes unused for so long is better off with another worker.
NEGLECTED_AFTER = timedelta(milliseconds=500)
#: A lane that had nothing to claim while something is in flight is asked again after this.
ASK_AGAIN = timedelta(milliseconds=250)
#: A message is claimed this much before its slot, so that its commit costs the channel no time.
LEAD = timedelta(milliseconds=20)
#: A claimed message that waits for a free sender thread or a connection is looked at again after this.
NOT_STARTED_YET = timedelta(milliseconds=2)

_CONFIRMS_DOWN = frozenset({Connectivity.NOT_CONNECTED, Connectivity.REFUSED})

_KEEP = (
    update(Channel)
    .where(Channel.id == bindparam("_id"), Channel.lease_token == bindparam("_token"))
    .values(
        next_slot_at=bindparam("_next_slot_at"),
        failures=bindparam("_failures"),
        lease_expires_at=bindparam("_until"),
    )
)
_STILL_OURS = select(Channel.id).where(
    Channel.id.in_(bindparam("ids", expanding=True)), Channel.lease_token == bindparam("token")
)


@dataclass(eq=False, kw_only=True)
class Lane:
    """One leased channel."""

    channel_id: int
    api_key: SecretStr = field(repr=False)
    pace: Pace
    next_slot_at: datetime
    #: The slot of the message that was claimed last.
    slot: datetime
    failures: int
    leased_at: datetime
    lease_until: datetime
    in_flight: list[Job] = field(default_factory=list)
    #: Nothing to claim was found, so it is not asked again before this.
    ask_again_at: datetime | None = None
    #: No more claims: the channel is no longer up, no longer ours, or the run is ending.
    closing: bool = False
    #: A refusal that has to reach the channel's row.
    blocked_by: str | None = None
    report: ConnectionReport | None = None
    changed: bool = False

    def ready_at(self, now: datetime) -> datetime | None:
        """When the next claim may be made; None while something in flight has to end first."""
        if self.closing or len(self.in_flight) >= MOST_IN_FLIGHT:
            return None
        if self.in_flight and self.in_flight[-1].started_at is None and self.in_flight[-1].finished is None:
            # The slot after a message counts from the moment its POST began. The longer that takes, the rarer a look.
            slot = self.in_flight[-1].not_before
            return max(now, slot) + max(NOT_STARTED_YET, now - slot)
        self._count_last_start()
        return max(self.next_slot_at - LEAD, self.ask_again_at or self.next_slot_at - LEAD)

    def _count_last_start(self) -> None:
        started = self.in_flight[-1].started_at if self.in_flight else None
        if started is not None:
            self.next_slot_at = self.pace.slot_after(started, self.next_slot_at)

    def reserve(self, now: datetime) -> None:
        """Use up the slot for a message that is being claimed."""
        self.slot = max(now, self.next_slot_at)
        self.next_slot_at = self.pace.slot_after(self.slot)
        self.ask_again_at = None
        self.changed = True

    def found_nothing(self, now: datetime) -> None:
        self.ask_again_at = now + ASK_AGAIN

    def absorb(self, job: Job) -> None:
        """Learn from an attempt that has ended: the slot it used, and what it says about the channel."""
        assert job.finished is not None
        self.in_flight.remove(job)
        self.ask_again_at = None
        self.changed = True
        if job.started_at is not None:
            self.next_slot_at = self.pace.slot_after(job.started_at, self.next_slot_at)
        done = job.finished
        effect = done.outcome.channel_effect
        if effect is ChannelEffect.DOWN and job.report and job.report.connection in _CONFIRMS_DOWN:
            self.report, self.closing = job.report, True
            return
        if effect is ChannelEffect.NONE:
            self.failures = 0
        elif effect is ChannelEffect.THROTTLE:
            wait_s = done.outcome.retry_after_s or THROTTLED_S
            self._rest(done.finished_at, wait_s)
        elif effect is ChannelEffect.BLOCK:
            self.blocked_by, self.closing = done.outcome.cause.value, True
        else:  # trouble at WaSender, or a refusal that its own status does not confirm
            self.failures += 1
            self._rest(done.finished_at, backoff_s(self.failures, first_s=FIRST_BACKOFF_S, most_s=MOST_BACKOFF_S))

    def _rest(self, since: datetime, wait_s: float) -> None:
        self.next_slot_at = max(self.next_slot_at, since + timedelta(seconds=wait_s))


class Lanes:
    """All lanes of a run, by channel id."""

    def __init__(self, token: str) -> None:
        self.token = token
        self._lanes: dict[int, Lane] = {}
        self._writing: list[Lane] = []

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def __len__(self) -> int:
        return len(self._lanes)

    def __getitem__(self, channel_id: int) -> Lane:
        return self._lanes[channel_id]

    def add(self, row: Any, api_key: SecretStr, *, leased_at: datetime, lease_until: datetime) -> None:
        """Take up a channel's row that was just leased; a lane that is still closing is opened again."""
        known = self._lanes.get(row.id)
        self._lanes[row.id] = Lane(
            channel_id=row.id,
            api_key=api_key,
            pace=Pace(row.pace_messages, row.pace_seconds),
            next_slot_at=row.next_slot_at,
            slot=row.next_slot_at,
            failures=row.failures,
            leased_at=leased_at,
            lease_until=lease_until,
            in_flight=known.in_flight if known else [],
        )

    def close(self) -> None:
        """No more claims in this run."""
        for lane in self:
            lane.closing = True

    def channel_ids(self) -> set[int]:
        return set(self._lanes)

    def in_flight(self) -> list[int]:
        """The messages (seq) that are with the senders."""
        return [job.claim.seq for lane in self for job in lane.in_flight]

    def done_with(self, *, besides: Sequence[Claim], ends_at: datetime) -> list[int]:
        """The channels that this run can give back: nothing in flight, nothing to send, or no slot in its time."""
        claimed = {claim.channel_id for claim in besides}
        return [
            lane.channel_id
            for lane in self
            if lane.channel_id not in claimed
            and not lane.in_flight
            and (lane.closing or lane.ask_again_at is not None or lane.next_slot_at > ends_at)
        ]

    def neglected(self, now: datetime) -> list[int]:
        """The channels whose slot came a while ago and passed unused, because the senders have no time for them."""
        since = now - NEGLECTED_AFTER
        return [
            lane.channel_id
            for lane in self
            if not lane.in_flight and not lane.closing and max(lane.next_slot_at, lane.leased_at) < since
        ]

    def drop(self, channel_ids: Iterable[int]) -> None:
        for channel_id in channel_ids:
            self._lanes.pop(channel_id, None)

    def ready(self, now: datetime, most: int) -> list[Lane]:
        """The lanes whose slot has come, the longest waiting first."""
        due = [(at, lane) for lane in self if (at := lane.ready_at(now)) is not None and at <= now]
        due.sort(key=lambda pair: pair[0])
        return [lane for _, lane in due[:most]]

    def next_ready_at(self, now: datetime) -> datetime | None:
        return min((at for lane in self if (at := lane.ready_at(now)) is not None), default=None)

    def write(self, connection: Connection, *, now: datetime, until: datetime) -> set[int]:
        """Write slots, failures and renewed leases of the lanes that changed or are half through their lease.

        Returns the channels that turned out to belong to somebody else by now.
        """
        self._writing = touched = self._to_write(now, until)
        if not touched:
            return set()
        connection.execute(
            _KEEP,
            [
                {
                    "_id": lane.channel_id,
                    "_token": self.token,
                    "_next_slot_at": lane.next_slot_at,
                    "_failures": lane.failures,
                    "_until": until,
                }
                for lane in touched
            ],
        )
        ids = {lane.channel_id for lane in touched}
        ours = set(connection.execute(_STILL_OURS, {"ids": list(ids), "token": self.token}).scalars())
        for lane in touched:
            if lane.report is not None:
                states.apply_report(connection, lane.channel_id, lane.report, now=now, source=Source.WORKER)
            if lane.blocked_by is not None:
                states.block(connection, lane.channel_id, lane.blocked_by, now=now)
        return ids - ours

    def _to_write(self, now: datetime, until: datetime) -> list[Lane]:
        renew_before = now + (until - now) / 2
        touched = [lane for lane in self if lane.changed or lane.lease_until < renew_before]
        return sorted(touched, key=lambda lane: lane.channel_id)

    def written(self, lost: set[int], until: datetime) -> None:
        """The transaction of `write` is committed."""
        for lane in self._writing:
            if lane.channel_id in lost:
                lane.closing = True
            else:
                lane.lease_until = until
            lane.changed, lane.report, lane.blocked_by = False, None, None
        self._writing = []
