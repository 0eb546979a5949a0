"""Whatever happens in whatever order, to several runs at once: nothing is lost, doubled, or taken back."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from tests.domain.legal_moves import LEGAL_MOVES
from tests.outbox.desk import ALICE, BOB, CAROL, OURS, THEIRS, Desk
from worker.channels import leases
from worker.database import snapshot
from worker.domain.evidence import Ack
from worker.domain.outcomes import Cause
from worker.models import Attempt, Event, Message
from worker.outbox.claims import Claim

#: One of each kind.
CAUSES = st.sampled_from([Cause.ACCEPTED, Cause.UNREACHABLE, Cause.REFUSED, Cause.TIMEOUT])
RUNS = st.sampled_from([OURS, THEIRS])
MESSAGES = select(
    Message.seq, Message.state, Message.channel_id, Message.recipient, Message.lease_token, Message.attempts
).order_by(Message.seq)
EVENTS = select(Event.message_seq, Event.before, Event.after).where(Event.message_seq.is_not(None)).order_by(Event.id)
ATTEMPTS = select(Attempt.message_seq, Attempt.number, Attempt.outcome)
TICKED = {"sent": 1, "delivered": 2, "read": 3}


class History(RuleBasedStateMachine):
    """Two runs compete for two channels, and either may fall silent for longer than its lease."""

    desk: Desk
    #: The moves that were seen in any history, to tell a thorough play from an idle one.
    seen: set[tuple[str | None, str]]
    in_flight = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.desk.clear()
        self.channels = [self.desk.channel(name) for name in ("one", "two")]
        self.seqs = [self.desk.enqueue(self.channels[0], to) for to in (ALICE, ALICE, BOB, CAROL)]
        self.posts: set[tuple[int, int]] = set()
        #: What each run knows to have claimed.
        self.known: set[tuple[str, int]] = set()

    @rule(
        channel=st.integers(0, 1),
        to=st.sampled_from([ALICE, BOB, CAROL]),
        priority=st.sampled_from(["transactional", "bulk"]),
        expires_s=st.sampled_from([None, 10, 30]),
    )
    def enqueue(self, channel: int, to: str, priority: str, expires_s: int | None) -> None:
        ends = {} if expires_s is None else {"expires_at": (self.desk.now + timedelta(seconds=expires_s)).isoformat()}
        self.seqs.append(self.desk.enqueue(self.channels[channel], to, priority=priority, **ends))

    @rule(target=in_flight, run=RUNS, cause=CAUSES)
    def lease_and_claim(self, run: str, cause: Cause) -> Any:
        """The cause is what the POST will prove, whenever it is written down."""
        self.desk.lease(run, horizon_s=60)
        return self.claim(run, cause)

    @rule(cause=CAUSES, ack=st.sampled_from([None, *Ack]), run=RUNS)
    def send(self, cause: Cause, ack: Ack | None, run: str) -> None:
        """The whole way of a message, without trouble in between."""
        self.desk.lease(run, horizon_s=60)
        for claim in self.desk.claim(self.channels, run).claims:
            self.record(run, claim, cause)
            self.desk.tick(claim.seq, ack)

    @rule(target=in_flight, run=RUNS, cause=CAUSES)
    def claim_more(self, run: str, cause: Cause) -> Any:
        return self.claim(run, cause)

    def claim(self, run: str, cause: Cause) -> Any:
        claims = self.desk.claim(self.channels, run).claims
        assert len({claim.channel_id for claim in claims}) == len(claims)
        self.known |= {(run, claim.seq) for claim in claims}
        return multiple(*((run, claim, cause) for claim in claims))

    @rule(post=consumes(in_flight))
    def answer(self, post: tuple[str, Claim, Cause]) -> None:
        run, claim, _ = post
        self.known.discard((run, claim.seq))
        self.record(*post)

    @rule(post=in_flight)
    def answer_whose_commit_seemed_lost(self, post: tuple[str, Claim, Cause]) -> None:
        """It is recorded, and stays with the run, which records it again."""
        self.record(*post)

    def record(self, run: str, claim: Claim, cause: Cause) -> None:
        gateway_msg_id = 1000 + claim.seq if cause is Cause.ACCEPTED else None
        self.desk.finish(claim, cause, token=run, gateway_msg_id=gateway_msg_id)
        self.posts.add((claim.seq, claim.attempt))

    @rule(post=consumes(in_flight))
    def die(self, post: tuple[str, Claim, Cause]) -> None:
        """The claim is never heard of again."""

    @rule(run=RUNS)
    def put_back_claims_whose_commit_seemed_lost(self, run: str) -> None:
        self.desk.claim(self.channels, run)
        self.desk.put_back(run, keep=[seq for holder, seq in self.known if holder == run])

    @rule(run=RUNS)
    def give_back(self, run: str) -> None:
        self.desk.write(lambda c: leases.give_back(c, run, self.channels))

    @rule(seconds=st.sampled_from([1, 14, 16]))
    def wait(self, seconds: int) -> None:
        self.desk.wait(seconds)

    @rule(which=st.integers(0, 100), ack=st.sampled_from([None, *Ack]))
    def tick(self, which: int, ack: Ack | None) -> None:
        if self.seqs:
            self.desk.tick(self.seqs[which % len(self.seqs)], ack)

    @rule()
    def sweep(self) -> None:
        self.desk.expire()
        self.desk.doubt(self.channels)

    @invariant()
    def what_is_stored_holds_together(self) -> None:
        with snapshot(self.desk.engine) as connection:
            messages = connection.execute(MESSAGES).all()
            events = connection.execute(EVENTS).all()
            attempts = connection.execute(ATTEMPTS).all()
        self.check_messages(messages)
        self.check_events(events, {row.seq: row.state for row in messages})
        self.check_attempts(attempts, {row.seq: row.attempts for row in messages})

    def check_messages(self, messages: Sequence[Any]) -> None:
        assert [row.seq for row in messages] == self.seqs, "a message vanished"
        sending = [(row.channel_id, row.recipient) for row in messages if row.state == "sending"]
        assert len(set(sending)) == len(sending), "two are on their way to one recipient"
        for row in messages:
            assert (row.lease_token in {OURS, THEIRS}) or row.state != "sending", "nobody's message is on its way"

    def check_events(self, events: Sequence[Any], states: dict[int, str]) -> None:
        reached: dict[int, str | None] = dict.fromkeys(self.seqs)
        for seq, before, after in events:
            assert before == reached[seq], "the chain of events has a gap"
            assert before is None or (before, after) in LEGAL_MOVES
            assert TICKED.get(before or "", 0) <= TICKED.get(after, 0), "a tick was taken back"
            reached[seq] = after
            self.seen.add((before, after))
        assert reached == states

    def check_attempts(self, attempts: Sequence[Any], tried: dict[int, int]) -> None:
        stored = [(row.message_seq, row.number) for row in attempts]
        assert len(set(stored)) == len(stored)
        for row in attempts:
            # What was not sent does not count: it is kept under the number that the next attempt will take.
            assert 1 <= row.number <= tried[row.message_seq] + (row.outcome == "not_sent")
        assert self.posts <= set(stored), "a POST was not written down"


def play(desk: Desk, *, histories: int, steps: int) -> set[tuple[str | None, str]]:
    """Returns the moves that were made."""
    machine = type("HistoryAtThisDesk", (History,), {"desk": desk, "seen": set()})
    chosen = settings(
        max_examples=histories,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)
    seen: set[tuple[str | None, str]] = machine.seen
    return seen


def test_any_history_on_sqlite(sqlite_desk: Desk) -> None:
    seen = play(sqlite_desk, histories=24, steps=40)
    moves = {("sending", after) for after in ("accepted", "queued", "failed", "in_doubt")} | {("queued", "expired")}
    assert moves <= seen, "the histories were too tame to prove anything"


def test_any_history_on_postgresql(postgres_desk: Desk) -> None:
    assert play(postgres_desk, histories=4, steps=20)
