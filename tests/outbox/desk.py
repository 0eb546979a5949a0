"""An outbox with its channels, at a time of the test's own choosing: each call is one committed transaction."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, delete, select, update

from worker.channels import leases, registry, states, window
from worker.channels.leases import Lease
from worker.channels.registry import NewChannel
from worker.database import open_engine, snapshot, transaction
from worker.domain.channel_state import ChannelState
from worker.domain.evidence import Ack, ConnectionReport, MessageInfo
from worker.domain.evidence import Connection as Connectivity
from worker.domain.message_request import parse_request
from worker.domain.message_status import MessageState
from worker.domain.outcomes import Cause, Outcome
from worker.domain.pace import Pace
from worker.domain.quiet_hours import QuietHours
from worker.models import Attempt, Base, Channel, Event, Message
from worker.outbox import open_fates
from worker.outbox.abandoned import doubt_abandoned
from worker.outbox.claims import Claim, Claims, Finished, claim_next, put_back_unposted, record_outcomes
from worker.outbox.enqueue import Defaults, Enqueued, enqueue
from worker.outbox.events import Source
from worker.outbox.expiry import expire_due
from worker.outbox.ticks import Evidence, Tick

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=15)
PACE = Pace(1, 5)
ALICE, BOB, CAROL = "+917033009600", "+917033009601", "+917033009602"
DEFAULTS = Defaults(region="IN", on_doubt="hold")
OURS, THEIRS = "a" * 32, "b" * 32
#: A window that no test of something else runs into.
WIDE = 1000
ACK_TIMEOUT_S = 60.0
SETTLE = timedelta(seconds=60)


class Desk:
    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.now = NOON
        self.most_unacked = WIDE
        #: As the settings have them.
        self.defaults = DEFAULTS
        self.quiet_hours: QuietHours | None = None

    def close(self) -> None:
        self.engine.dispose()

    def clear(self) -> None:
        """Forget everything and begin again at noon."""
        with transaction(self.engine) as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(delete(table))
        self.now = NOON
        self.most_unacked = WIDE
        self.defaults, self.quiet_hours = DEFAULTS, None

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def write(self, work: Callable[[Connection], Any]) -> Any:
        with transaction(self.engine) as connection:
            return work(connection)

    def read(self, query: Any) -> Sequence[Row[Any]]:
        with snapshot(self.engine) as connection:
            return connection.execute(query).all()

    # Channels

    def channel(
        self, name: str = "default", state: ChannelState = ChannelState.UP, pace: Pace = PACE, window: int = WIDE
    ) -> int:
        channel_id: int = self.write(lambda c: registry.add(c, NewChannel(name=name, pace=pace), self.now))
        self.set_channel(channel_id, state=state, unacked_window=window)
        return channel_id

    def set_channel(self, channel_id: int, **values: Any) -> None:
        self.write(lambda c: c.execute(update(Channel).where(Channel.id == channel_id).values(**values)))

    def set_channels(self, **values: Any) -> None:
        self.write(lambda c: c.execute(update(Channel).values(**values)))

    def channel_row(self, channel_id: int) -> Row[Any]:
        return self.read(select(Channel.__table__).where(Channel.id == channel_id))[0]

    def lease(self, token: str = OURS, holder: str = "host:1", horizon_s: float = 5) -> list[int]:
        """Lease what waits. Returns the channels, most urgent first."""
        lease = Lease(token=token, holder=holder, until=self.now + LEASE)
        horizon = self.now + timedelta(seconds=horizon_s)
        rows = self.write(lambda c: leases.take_waiting(c, lease, now=self.now, horizon=horizon, most=100))
        return [row.id for row in rows]

    # Messages

    def enqueue(self, channel_id: int, to: str = ALICE, text: str = "Hello", **request: Any) -> int:
        """Returns the message's seq."""
        enqueued: Enqueued = self.write(
            lambda c: enqueue(
                c,
                parse_request({"to": to, "text": text} | request),
                channel_id=channel_id,
                message_id=uuid4(),
                defaults=self.defaults,
                now=self.now,
                source=Source.API,
            )
        )
        return int(self.read(select(Message.seq).where(Message.id == enqueued.message_id))[0].seq)

    def claim(self, channel_ids: Collection[int], token: str = OURS) -> Claims:
        claims: Claims = self.write(
            lambda c: claim_next(c, channel_ids, token, now=self.now, quiet_hours=self.quiet_hours)
        )
        return claims

    def claim_one(self, channel_id: int, token: str = OURS) -> Claim:
        (claim,) = self.claim([channel_id], token).claims
        return claim

    def leased_claim(self, channel_id: int, token: str = OURS) -> Claim:
        assert channel_id in self.lease(token)
        return self.claim_one(channel_id, token)

    def finish(
        self,
        claim: Claim,
        cause: Cause,
        *,
        token: str = OURS,
        worker: str = "host:1",
        gateway_msg_id: int | None = None,
        channel_is_down: bool = False,
        posted: bool = True,
    ) -> None:
        done = Finished(
            claim=claim,
            started_at=self.now if posted else None,
            finished_at=self.now,
            outcome=Outcome(cause=cause, gateway_msg_id=gateway_msg_id),
            channel_is_down=channel_is_down,
        )
        self.record([done], token, worker=worker)

    def record(self, finished: Sequence[Finished], token: str = OURS, *, worker: str = "host:1") -> None:
        self.write(
            lambda c: record_outcomes(c, finished, token, now=self.now, worker=worker, ack_timeout_s=ACK_TIMEOUT_S)
        )

    def put_back(self, token: str = OURS, keep: Collection[int] = ()) -> int:
        count: int = self.write(lambda c: put_back_unposted(c, token, keep=keep, now=self.now))
        return count

    def doubt(self, channel_ids: Sequence[int]) -> int:
        count: int = self.write(lambda c: doubt_abandoned(c, channel_ids, now=self.now))
        return count

    def expire(self, most: int = 100) -> int:
        count: int = self.write(lambda c: expire_due(c, now=self.now, most=most))
        return count

    def tick(
        self,
        seq: int,
        ack: Ack | None,
        *,
        attempt: int | None = None,
        source: Source = Source.INFO,
        settle: timedelta = SETTLE,
        **info: Any,
    ) -> int:
        """What is learnt of a message's latest attempt, or of the one with that number. Returns how many moved."""
        tried = self.attempts(seq)
        chosen = [row for row in tried if attempt in {None, row.number}][-1:]
        ticks = [Tick(attempt_id=row.id, info=MessageInfo(ack=ack, **info)) for row in chosen]
        return self.learn(self.message(seq).channel_id, ticks, source=source, settle=settle)

    def learn(
        self, channel_id: int, ticks: Sequence[Tick], *, source: Source = Source.INFO, settle: timedelta = SETTLE
    ) -> int:
        """As the stories do it: the channel's row first, then its messages, then the window. Returns the moves."""

        def write(connection: Connection) -> int:
            window.lock(connection, [channel_id])
            evidence = Evidence(connection, [tick.attempt_id for tick in ticks], now=self.now, source=source)
            for tick in ticks:
                evidence.apply(tick, settle_s=settle.total_seconds(), ack_timeout_s=ACK_TIMEOUT_S)
            of_channels = evidence.write()
            ticked = window.count_ticks(
                connection,
                of_channels,
                now=self.now,
                most_unacked=self.most_unacked,
                ack_timeout_s=ACK_TIMEOUT_S,
            )
            for ticked_id in ticked:
                states.ticked(connection, ticked_id, now=self.now, source=source)
            return sum(of_channel.moved for of_channel in of_channels)

        moved: int = self.write(write)
        return moved

    def accepted(self, channel_id: int, to: str = ALICE, gateway_msg_id: int = 7) -> int:
        """A message that WaSender has taken. Returns its seq."""
        seq = self.enqueue(channel_id, to)
        if self.channel_row(channel_id).lease_token is None:
            self.lease()
        claim = self.claim_one(channel_id)
        assert claim.seq == seq
        self.finish(claim, Cause.ACCEPTED, gateway_msg_id=gateway_msg_id)
        return seq

    # Fates

    def fate(self, seq: int) -> Any:
        """A message with its latest attempt, as judgements take it."""
        query = (
            select(
                *(Message.seq, Message.channel_id, Message.state, Message.attempts, Message.claimed_at),
                *(Attempt.id.label("attempt_id"), Attempt.finished_at),
            )
            .join(Attempt, Attempt.message_seq == Message.seq)
            .where(Message.seq == seq)
            .order_by(Attempt.number.desc())
        )
        return self.read(query)[0]

    def requeue(self, seq: int, *, resent: bool = False, fate: Any = None) -> bool:
        row = fate or self.fate(seq)
        moved: bool = self.write(
            lambda c: open_fates.requeue(
                c, row, row.state, now=self.now, source=Source.WORKER, reason="resent", resent=resent
            )
        )
        return moved

    def adopt(self, seq: int, *, fate: Any = None, source: Source = Source.LOGS, **ids: Any) -> bool:
        row = fate or self.fate(seq)
        moved: bool = self.write(lambda c: open_fates.adopt(c, row, row.state, now=self.now, source=source, **ids))
        return moved

    def fail(self, seq: int, *, fate: Any = None) -> bool:
        row = fate or self.fate(seq)
        moved: bool = self.write(
            lambda c: open_fates.fail(
                c, row, row.state, now=self.now, source=Source.LOGS, code="gateway_failed", sentence="It failed."
            )
        )
        return moved

    def hold(self, seq: int, code: str = "no_tick", *, fate: Any = None) -> bool:
        row = fate or self.fate(seq)
        moved: bool = self.write(lambda c: open_fates.hold(c, row, row.state, now=self.now, code=code))
        return moved

    def go_mute(self, channel_id: int) -> bool:
        news: bool = self.write(
            lambda c: states.go_mute(c, channel_id, "no_ticks", now=self.now, source=Source.INFO, evidence={})
        )
        return news

    def report(self, channel_id: int, connection: Connectivity, word: str = "") -> ChannelState | None:
        """WaSender's answer to "are you connected?". Returns the new state if that is news."""
        said = ConnectionReport(connection=connection, word=word or connection.value)
        verdict = self.write(lambda c: states.apply_report(c, channel_id, said, now=self.now, source=Source.STATUS))
        return verdict and verdict.state

    # What is stored

    def message(self, seq: int) -> Row[Any]:
        return self.read(select(Message.__table__).where(Message.seq == seq))[0]

    def state(self, seq: int) -> MessageState:
        state: MessageState = self.message(seq).state
        return state

    def events(self, seq: int) -> list[tuple[str | None, str, str]]:
        """A message's transitions: before, after and who learnt of it."""
        rows = self.read(select(Event).where(Event.message_seq == seq).order_by(Event.id))
        return [(row.before, row.after, row.source) for row in rows]

    def channel_events(self, channel_id: int) -> list[tuple[str | None, str, str]]:
        query = select(Event).where(Event.message_seq.is_(None), Event.channel_id == channel_id).order_by(Event.id)
        return [(row.before, row.after, row.source) for row in self.read(query)]

    def attempts(self, seq: int) -> Sequence[Row[Any]]:
        return self.read(select(Attempt.__table__).where(Attempt.message_seq == seq).order_by(Attempt.number))
