"""The channels that a drain run has leased, in memory, and how what they plan reaches their rows.

A lane decides nothing alone: what it plans is written to the channel's row in the turn's transaction, and only a
committed claim is POSTed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, bindparam, select, update

from worker.channels import states, window
from worker.domain.channel_state import ChannelState
from worker.domain.outcomes import ChannelEffect
from worker.domain.pace import Pacing
from worker.models import Channel
from worker.outbox.claims import Claim
from worker.outbox.events import Source
from worker.sending.lane import Lane

#: A lane whose slot passes unused for so long is better off with another worker.
NEGLECTED_AFTER = timedelta(milliseconds=500)
#: What another run needs to take a channel over.
TAKE_OVER = timedelta(milliseconds=50)
#: A message that has not been answered for so long is not waited for.
STUCK_AFTER = timedelta(seconds=1)
#: A message is claimed before its slot, so that its commit costs the channel no time: this much before it at the
#: least and at the most, in between as much as the slowest of the latest turns took, and half as much again.
LEAST_LEAD = timedelta(milliseconds=20)
MOST_LEAD = timedelta(milliseconds=150)
LEAD_FACTOR = 1.5
#: The share of a slow turn's lead that is left after the next one.
LEAD_FADES = 0.95

_KEEP = (
    update(Channel)
    .where(Channel.id == bindparam("_id"), Channel.lease_token == bindparam("_token"))
    .values(
        next_slot_at=bindparam("_next_slot_at"),
        rest_until=bindparam("_rest_until"),
        slowdown=bindparam("_slowdown"),
        unhinted_refusals=bindparam("_unhinted_refusals"),
        posts_on=bindparam("_posts_on"),
        posts_that_day=bindparam("_posts_that_day"),
        failures=bindparam("_failures"),
        refused_since=bindparam("_refused_since"),
        lease_expires_at=bindparam("_until"),
    )
)
_STILL_OURS = select(Channel.id).where(
    Channel.id.in_(bindparam("ids", expanding=True)), Channel.lease_token == bindparam("token")
)
_CAME_UP = select(Channel.id).where(Channel.id.in_(bindparam("ids", expanding=True)), Channel.rest_until.is_(None))


class Lanes:
    """All lanes of a run, by channel id."""

    def __init__(
        self, token: str, *, ack_timeout_s: float, threads: int, jitter: Callable[[], timedelta] | None = None
    ) -> None:
        self.token = token
        self._jitter = jitter
        self._threads = threads
        self._lead = LEAST_LEAD
        self._ack_timeout_s = ack_timeout_s
        self._lanes: dict[int, Lane] = {}
        self._writing: list[Lane] = []
        #: The channels whose rows the turn's transaction holds. It must touch no other: whoever locks a channel after
        #: a message, or out of order, can end in a deadlock.
        self._locked: set[int] = set()

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def __len__(self) -> int:
        return len(self._lanes)

    def __getitem__(self, channel_id: int) -> Lane:
        return self._lanes[channel_id]

    def add(self, row: Any, api_key: SecretStr, *, leased_at: datetime, lease_until: datetime) -> None:
        """Take up a channel's row that was just leased, perhaps once more: its lease may have run out in trouble."""
        self._locked.add(row.id)
        lane = Lane(
            channel_id=row.id,
            api_key=api_key,
            pacing=(pacing := replace(Pacing.of(row), unhinted=row.unhinted_refusals)),
            next_slot_at=row.next_slot_at,
            rest_until=row.rest_until,
            # Its row says when it opens, or runs would lease it and give it back in circles.
            changed=pacing.allowed_from(row.next_slot_at) > row.next_slot_at,
            slot=row.next_slot_at,
            failures=row.failures,
            refused_since=row.refused_since,
            probing=row.state is ChannelState.MUTE,
            leased_at=leased_at,
            lease_until=lease_until,
            jitter=self._jitter,
        )
        if (former := self._lanes.get(row.id)) is not None:
            lane.follow(former)
        self._lanes[row.id] = lane

    def look_up(self, connection: Connection) -> None:
        """See whether channels that rest here after trouble have come up again meanwhile."""
        resting = [lane.channel_id for lane in self if lane.rest_until is not None and not lane.changed]
        if resting:
            for channel_id in connection.execute(_CAME_UP, {"ids": resting}).scalars():
                self[channel_id].came_up_again()

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
        """Locked channels that this run can give back: nothing in flight, nothing to send, or no slot in its time."""
        free = self._locked.difference(claim.channel_id for claim in besides)
        return [
            lane.channel_id
            for lane in self
            if lane.channel_id in free
            and not lane.in_flight
            and (lane.closing or lane.ask_again_at is not None or lane.opens_at > ends_at)
        ]

    def neglected(self, now: datetime) -> list[int]:
        """The locked channels whose slot came a while ago and passed unused: the senders have no time for them."""
        since = now - NEGLECTED_AFTER
        return [
            lane.channel_id
            for lane in self
            if lane.channel_id in self._locked
            and not lane.in_flight
            and not lane.closing
            and max(lane.opens_at, lane.leased_at) < since
        ]

    def drop(self, channel_ids: Iterable[int]) -> None:
        for channel_id in channel_ids:
            self._lanes.pop(channel_id, None)

    def ready(self, now: datetime, most: int) -> list[Lane]:
        """The locked lanes whose slot has come, the longest waiting first.

        One whose message has got on its way since the rows were locked is ready in the next turn.
        """
        return [lane for lane in self._due(now) if lane.channel_id in self._locked][:most]

    def _due(self, now: datetime) -> list[Lane]:
        lead = self._present_lead()
        due = [(at, lane) for lane in self if (at := lane.ready_at(now, lead)) is not None and at <= now]
        due.sort(key=lambda pair: pair[0])
        return [lane for _, lane in due]

    def next_ready_at(self, now: datetime) -> datetime | None:
        lead = self._present_lead()
        return min((at for lane in self if (at := lane.ready_at(now, lead)) is not None), default=None)

    def turn_took(self, duration: timedelta) -> None:
        """So long it took to claim and commit."""
        self._lead = min(MOST_LEAD, max(LEAST_LEAD, duration * LEAD_FACTOR, self._lead * LEAD_FADES))

    def _present_lead(self) -> timedelta:
        """A message that waits for its slot keeps a thread from others, so that only idle threads are given to it."""
        return self._lead if sum(len(lane.in_flight) for lane in self) < self._threads / 2 else LEAST_LEAD

    def are_flowing(self, now: datetime) -> bool:
        """Would a hand-over cost a slot: is something in flight or about to be, and will it be answered soon?"""
        stuck, soon = now - STUCK_AFTER, now + TAKE_OVER
        if any(job.not_before < stuck for lane in self for job in lane.in_flight):
            return False
        return any(lane.in_flight or (not lane.closing and lane.opens_at <= soon) for lane in self)

    def write(self, connection: Connection, *, now: datetime, until: datetime) -> set[int]:
        """Write slots, counts, failures and renewed leases of the lanes that changed or are half through their lease.

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
                    "_next_slot_at": lane.paced_at,
                    "_rest_until": lane.rest_until,
                    "_slowdown": lane.pacing.slowdown,
                    "_unhinted_refusals": lane.pacing.unhinted,
                    "_posts_on": lane.pacing.posts_on,
                    "_posts_that_day": lane.pacing.posts_that_day,
                    "_failures": lane.failures,
                    "_refused_since": lane.refused_since,
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
            if lane.refused_too_long(now, self._ack_timeout_s):
                self._believe_refusals(connection, lane, now)
            if lane.blocked_by is not None:
                states.block(connection, lane.channel_id, lane.blocked_by, now=now)
        window.begin_anew(connection, [lane.channel_id for lane in touched if lane.lost_an_answer])
        for lane in touched:
            if lane.probed:
                window.probed(connection, lane.channel_id, now=now, ack_timeout_s=self._ack_timeout_s)
        return ids - ours

    def _believe_refusals(self, connection: Connection, lane: Lane, now: datetime) -> None:
        """Stop a channel whose every send was refused for too long, by words about the plan or as "not connected"."""
        assert lane.refused is not None
        lane.closing = True
        if lane.refused.outcome.channel_effect is ChannelEffect.BLOCK:
            lane.blocked_by = lane.refused.outcome.cause.value
            return
        evidence = {"refusals": lane.failures, "refused_since": f"{lane.refused_since:%Y-%m-%dT%H:%M:%SZ}"}
        states.go_mute(connection, lane.channel_id, "refuses_sends", now=now, source=Source.WORKER, evidence=evidence)

    def lock(
        self,
        connection: Connection,
        *,
        now: datetime,
        until: datetime,
        ends_at: datetime,
        most: int,
        everything: bool,
    ) -> None:
        """Lock the rows that this turn may change, in the order in which everybody else does, before any message.

        What a later look leases besides is locked without waiting.
        """
        self._locked = self.channel_ids()
        if not everything:
            touched = {lane.channel_id for lane in (*self._to_write(now, until), *self._due(now)[:most])}
            self._locked = touched.union(self.done_with(besides=(), ends_at=ends_at), self.neglected(now))
        window.lock(connection, self._locked)

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
            lane.changed, lane.report, lane.blocked_by, lane.refused = False, None, None, None
            lane.lost_an_answer = lane.probed = False
            lane.reserved.clear()
        self._writing = []

    def not_written(self) -> None:
        """The turn's transaction failed, so what it claimed is not posted and does not count for the day."""
        for lane in self:
            for slot in lane.reserved:
                lane.pacing = lane.pacing.uncounted(slot)
            lane.reserved.clear()
