"""Messages and channels through everything that can happen to them, checked after each step against what is true.

A pretend WaSender and WhatsApp (`World`) know what really went out; evidence may come late, twice, in any order or
never, but does not lie about that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection as Database
from sqlalchemy import func, select

from tests.domain.legal_moves import LEGAL_MOVES
from tests.outbox.desk import ALICE, BOB, CAROL, OURS, THEIRS, Desk
from tests.outbox.world import Post, World
from worker import doubt, evidence, hearing
from worker.account import LookedUp
from worker.channels import states, window
from worker.database import snapshot
from worker.domain.channel_state import ChannelState
from worker.domain.doubt import MOST_RESENDS, Verdict
from worker.domain.evidence import Ack, Connection, MessageInfo
from worker.domain.message_status import PUBLIC_STATUS, TICKED_STATES, MessageState
from worker.domain.outcomes import Cause
from worker.domain.text_digest import text_digest
from worker.domain.webhook_fact import Fact, SendFailed, SentSeen, TickSeen
from worker.models import Attempt, Channel, Event, Message, Outage
from worker.outbox import webhook_facts
from worker.outbox.claims import Claim, claim_next
from worker.outbox.events import Source
from worker.outbox.questions import take_due_checks
from worker.outbox.ticks import Tick
from worker.parts import Parts, build_parts
from worker.settings import read_settings

MESSAGES = select(Message.__table__).order_by(Message.seq)
S, C = MessageState, ChannelState
BROKEN = {C.DOWN, C.MUTE, C.BLOCKED}
import os
LIVES = int(os.environ.get("LIVES", "30"))
DAVE = "+917033009603"
RUNS = st.sampled_from([OURS, THEIRS])
WHICH = st.integers(0, 1000)
CHANNEL = st.integers(0, 1)
TICKS = st.sampled_from([Ack.SERVER, Ack.DEVICE, Ack.READ, Ack.PLAYED])
WORDS = ["connected", "need_scan", "need_passkey", "logged_out", "expired", "connecting", "disconnected", "odd"]
#: What an answer may be when WaSender took a message, and when it did not.
ANSWERS = {
    True: st.sampled_from([Cause.ACCEPTED, Cause.ACCEPTED, Cause.TIMEOUT, Cause.SERVER_ERROR]),
    False: st.sampled_from(
        [
            Cause.UNREACHABLE,
            Cause.THROTTLED,
            Cause.CHANNEL_DOWN,
            Cause.NOT_STARTED,
            Cause.REFUSED,
            Cause.CONNECTION_LOST,
        ]
    ),
}
#: What a CRM may see next, by what it sees now.
NEXT_STATUSES = {
    "pending": {"sent", "delivered", "read", "failed", "expired"},
    "failed": {"sent", "delivered", "read"},
    "expired": {"sent", "delivered", "read"},
    "sent": {"delivered", "read"},
    "delivered": {"read"},
    "read": set(),
}
#: Events that tell of no move.
NEWS_WITHOUT_A_MOVE = {"duplicate", "in_doubt", "no_tick"}


@dataclass(frozen=True)
class Stored:
    channels: dict[int, Any]
    messages: dict[int, Any]
    attempts: Sequence[Any]
    events: Sequence[Any]
    open_outages: dict[int, int]


class Life(RuleBasedStateMachine):
    desk: Desk
    parts: Parts
    patch: pytest.MonkeyPatch
    #: The moves that were seen in any life, and what else happened, to tell a thorough play from an idle one.
    seen: set[tuple[str | None, str]]
    happened: set[str]
    in_flight: Bundle[tuple[str, Claim, Post, Cause]] = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.desk.clear()
        self.patch.setattr(doubt, "account", self)
        self.world = World()
        self.verdict: Verdict | None = None
        self.status: dict[int, str] = {}
        self.outage_open: dict[int, bool] = {}
        self.channels: list[int] = []
        self.seqs: list[int] = []

    @initialize(window=st.sampled_from([1, 2, 4]))
    def begin(self, window: int) -> None:
        self.channels = [self.desk.channel(name, C.UNKNOWN) for name in ("one", "two")]
        for channel_id in self.channels:
            self.desk.report(channel_id, Connection.CONNECTED)
        self.desk.set_channels(unacked_window=window)
        self.outage_open = dict.fromkeys(self.channels, False)
        for to in (ALICE, ALICE, BOB):
            self.enqueue(0, to, "transactional", None, "hold", "Hello")

    # What is asked for

    @rule(
        channel=CHANNEL,
        to=st.sampled_from([ALICE, BOB, CAROL]),
        priority=st.sampled_from(["transactional", "bulk"]),
        expires_s=st.sampled_from([None, None, None, 100]),
        on_doubt=st.sampled_from(["hold", "resend"]),
        text=st.sampled_from(["Hello", "Good morning"]),
    )
    def enqueue(self, channel: int, to: str, priority: str, expires_s: int | None, on_doubt: str, text: str) -> None:
        more = {} if expires_s is None else {"expires_at": (self.desk.now + timedelta(seconds=expires_s)).isoformat()}
        channel_id = self.channels[channel]
        self.seqs.append(self.desk.enqueue(channel_id, to, text, priority=priority, on_doubt=on_doubt, **more))

    # Sending

    @rule(run=RUNS, taken=st.booleans(), data=st.data())
    def send(self, run: str, taken: bool, data: st.DataObject) -> None:
        """The whole way of a message on each channel that may send."""
        for claim in self.claim(run):
            self.record(run, claim, self.world.post(claim, taken=taken), data.draw(ANSWERS[taken]))

    @rule(target=in_flight, run=RUNS, taken=st.booleans())
    def begin_to_send(self, run: str, taken: bool) -> Any:
        return multiple(*((run, claim, self.world.post(claim, taken=taken)) for claim in self.claim(run)))

    @rule(flight=consumes(in_flight), data=st.data())
    def answer(self, flight: tuple[str, Claim, Post], data: st.DataObject) -> None:
        """Perhaps long after everybody thought that its worker was lost."""
        run, claim, post = flight
        self.record(run, claim, post, data.draw(ANSWERS[post.taken]))

    @rule(flight=in_flight, data=st.data())
    def answer_whose_commit_seemed_lost(self, flight: tuple[str, Claim, Post], data: st.DataObject) -> None:
        self.answer(flight, data)

    @rule(flight=consumes(in_flight))
    def lose_the_worker(self, flight: tuple[str, Claim, Post]) -> None:
        """Its answer is never heard of."""

    def claim(self, run: str) -> Sequence[Claim]:
        self.desk.lease(run, horizon_s=3600)
        before = self.stored()

        def work(connection: Database) -> Sequence[Claim]:
            found = claim_next(connection, self.channels, run, now=self.desk.now)
            for claim in found.claims:
                if before.channels[claim.channel_id].state is C.MUTE:
                    window.probed(connection, claim.channel_id, now=self.desk.now, ack_timeout_s=60)
            return found.claims

        claims: Sequence[Claim] = self.desk.write(work)
        self.check_claims(before, claims)
        return claims

    def record(self, run: str, claim: Claim, post: Post, cause: Cause) -> None:
        gateway_msg_id = post.gateway_msg_id if cause is Cause.ACCEPTED else None
        self.desk.finish(claim, cause, token=run, gateway_msg_id=gateway_msg_id)
        if cause in {Cause.TIMEOUT, Cause.SERVER_ERROR, Cause.CONNECTION_LOST}:
            self.desk.write(lambda c: window.begin_anew(c, [claim.channel_id]))

    # Evidence

    @precondition(lambda self: any(post.out for post in self.world.posts))
    @rule(which=WHICH, ack=TICKS)
    def whatsapp_ticks(self, which: int, ack: Ack) -> None:
        """It is true from now on; whether anybody hears of it is another matter."""
        post = self.some_post(which, out=True)
        post.ack = max(post.ack or ack, ack)

    @precondition(lambda self: any(post.ack for post in self.world.posts))
    @rule(which=WHICH, ack=TICKS)
    def webhook_of_a_tick(self, which: int, ack: Ack) -> None:
        ticked = [post for post in self.world.posts if post.ack]
        post = ticked[which % len(ticked)]
        assert post.ack is not None
        self.store(post, TickSeen(whatsapp_key_id=post.key_id, ack=min(ack, post.ack)))

    @precondition(lambda self: any(post.out for post in self.world.posts))
    @rule(which=WHICH, named=st.booleans())
    def webhook_of_a_sending(self, which: int, named: bool) -> None:
        post = self.some_post(which, out=True)
        fact = SentSeen(
            whatsapp_key_id=post.key_id,
            recipient=post.recipient,
            text_digest=text_digest(post.text),
            gateway_msg_id=post.gateway_msg_id if named else None,
        )
        self.store(post, fact)

    @precondition(lambda self: any(post.taken and not post.out for post in self.world.posts))
    @rule(which=WHICH, named=st.booleans())
    def webhook_of_a_failure(self, which: int, named: bool) -> None:
        post = self.some_post(which, out=False)
        post.dropped = True
        fact = SendFailed(recipient=post.recipient, gateway_msg_id=post.gateway_msg_id if named else None)
        self.store(post, fact)

    def some_post(self, which: int, *, out: bool) -> Post:
        fitting = [post for post in self.world.posts if post.taken and post.out == out]
        return fitting[which % len(fitting)]

    def store(self, post: Post, fact: Fact) -> None:
        self.desk.write(lambda c: webhook_facts.store(c, post.channel_id, [fact], self.desk.now))

    @rule()
    def hear(self) -> None:
        hearing.hear_webhooks(self.parts)

    @rule(answered=st.sampled_from([True, True, False]))
    def ask(self, answered: bool) -> None:
        """Ask WaSender about what is due; it may be out of reach."""
        due = self.desk.write(lambda c: take_due_checks(c, now=self.desk.now, most=100))
        ticks = []
        for row in due:
            info = next(post for post in self.world.posts if post.gateway_msg_id == row.gateway_msg_id).info
            ticks.append(Tick(attempt_id=row.attempt_id, info=info if answered else NO_ANSWER))
        evidence.apply_ticks(self.parts, ticks, {row.channel_id for row in due}, source=Source.INFO)

    @rule(verdict=st.sampled_from([None, None, Verdict.NOT_YET, Verdict.NO_PROOF, Verdict.UNCLEAR]))
    def judge(self, verdict: Verdict | None) -> None:
        """The logs tell the truth (None), or do not tell."""
        before = self.stored()
        self.verdict = verdict
        doubt.resolve(self.parts)
        self.check_judgement(before, self.stored())

    def read_logs(self, parts: Parts, rows: Sequence[Any]) -> None:
        return None

    def verdicts(self, connection: Database, rows: Sequence[Any], look: None, *, now: Any) -> dict[int, LookedUp]:
        return {row.seq: self.looked_up(self.world.of(row.seq, row.attempts)) for row in rows}

    def looked_up(self, post: Post) -> LookedUp:
        if self.verdict is not None:
            return LookedUp(verdict=self.verdict)
        if not post.taken:
            return LookedUp(verdict=Verdict.ABSENT)
        found = Verdict.FOUND_FAILED if post.dropped else Verdict.FOUND
        return LookedUp(verdict=found, gateway_msg_id=post.gateway_msg_id)

    # Channels

    @rule(channel=CHANNEL, word=st.sampled_from(WORDS))
    def check(self, channel: int, word: str) -> None:
        connected = word == "connected"
        self.desk.report(
            self.channels[channel], Connection.CONNECTED if connected else Connection.NOT_CONNECTED, word
        )

    @rule(channel=CHANNEL, connection=st.sampled_from([Connection.REFUSED, Connection.UNVERIFIED]))
    def check_in_vain(self, channel: int, connection: Connection) -> None:
        self.desk.report(self.channels[channel], connection, Cause.BAD_KEY)

    @rule(channel=CHANNEL)
    def lose_the_session(self, channel: int) -> None:
        """WaSender goes on saying connected, if nobody asks it to do otherwise."""
        self.world.lose_session(self.channels[channel])

    @rule(channel=CHANNEL, releasing=st.booleans())
    def regain_the_session(self, channel: int, releasing: bool) -> None:
        self.world.regain_session(self.channels[channel], releasing=releasing)

    @rule(channel=CHANNEL)
    def go_mute(self, channel: int) -> None:
        self.desk.go_mute(self.channels[channel])

    @rule(channel=CHANNEL, what=st.sampled_from([states.pause, states.resume]))
    def a_person_intervenes(self, channel: int, what: Any) -> None:
        stopped = self.desk.channel_row(self.channels[channel]).state in {C.PAUSED, C.BLOCKED}
        if what is states.pause or stopped:
            self.desk.write(lambda c: what(c, self.channels[channel], now=self.desk.now))

    @rule(channel=CHANNEL)
    def a_send_is_refused_for_good(self, channel: int) -> None:
        self.desk.write(lambda c: states.block(c, self.channels[channel], Cause.NO_SUBSCRIPTION, now=self.desk.now))

    # Time

    @rule(seconds=st.sampled_from([1, 5, 16, 61, 130, 700]))
    def wait(self, seconds: int) -> None:
        self.desk.wait(seconds)

    @rule()
    def sweep(self) -> None:
        self.desk.expire()
        self.desk.doubt(self.channels)

    @rule()
    def notice_silence(self) -> None:
        evidence.notice_silence(self.parts)

    # What must be so

    def stored(self) -> Stored:
        with snapshot(self.desk.engine) as connection:
            counted = select(Outage.channel_id, func.count()).where(Outage.ended_at.is_(None))
            return Stored(
                channels={row.id: row for row in connection.execute(select(Channel.__table__))},
                messages={
                    row.seq: row for row in connection.execute(select(Message.__table__).order_by(Message.seq))
                },
                attempts=connection.execute(select(Attempt.__table__)).all(),
                events=connection.execute(select(Event.__table__).order_by(Event.id)).all(),
                open_outages=dict(connection.execute(counted.group_by(Outage.channel_id)).all()),
            )

    def check_claims(self, before: Stored, claims: Sequence[Claim]) -> None:
        assert len({claim.channel_id for claim in claims}) == len(claims)
        for claim in claims:
            channel, message = before.channels[claim.channel_id], before.messages[claim.seq]
            assert message.state is S.QUEUED
            assert message.due_at <= self.desk.now
            assert message.expires_at is None or message.expires_at > self.desk.now
            still_open = [row for row in before.messages.values() if is_open(row) and row.channel_id == channel.id]
            if channel.state is C.MUTE:
                assert channel.probe_at <= self.desk.now, "a mute channel sends nothing but due probes"
                self.happened.add("probe")
            else:
                assert channel.state is C.UP
                filling = sum(fills_window(row, channel) for row in still_open)
                assert filling < channel.unacked_window, "the window was full"
            for other in still_open:
                if other.recipient == message.recipient:
                    assert other.state is S.ACCEPTED, "an earlier one to this recipient has no outcome yet"
                    assert channel.state is C.MUTE or not is_suspect(other, channel), "it may have to be sent again"

    def check_judgement(self, before: Stored, after: Stored) -> None:
        for seq, row in after.messages.items():
            was = before.messages[seq]
            if row.state is was.state:
                continue
            assert not (row.state is S.QUEUED and self.later_ticked(was, before)), "its order would be turned round"
            self.happened.add(f"judged {was.state} {row.state}")

    def later_ticked(self, message: Any, stored: Stored) -> bool:
        return any(
            row.state in TICKED_STATES and row.claimed_at > message.claimed_at
            for row in stored.messages.values()
            if (row.recipient, row.channel_id) == (message.recipient, message.channel_id) and row.claimed_at
        )

    @invariant()
    def what_is_stored_is_true_and_holds_together(self) -> None:
        if not self.channels:
            return
        stored = self.stored()
        assert list(stored.messages) == self.seqs, "a message vanished"
        self.check_events(stored)
        self.check_messages(stored)
        self.check_attempts(stored)
        self.check_outages(stored)

    def check_messages(self, stored: Stored) -> None:
        sending = [(row.channel_id, row.recipient) for row in stored.messages.values() if row.state is S.SENDING]
        assert len(set(sending)) == len(sending), "two are on their way to one recipient"
        for seq, row in stored.messages.items():
            outs = len(list(self.world.outs(seq)))
            assert outs or row.state not in TICKED_STATES, "called sent, but WhatsApp never had it"
            assert outs <= 1 + row.resends, "doubled, though nobody had it sent again"
            assert row.resends <= MOST_RESENDS
            assert row.attention is None or row.state in {S.ACCEPTED, S.IN_DOUBT}, "nobody needs to look at it"
            status, was = PUBLIC_STATUS[row.state], self.status.get(seq, "pending")
            assert status == was or status in NEXT_STATUSES[was]
            self.status[seq] = status

    def check_events(self, stored: Stored) -> None:
        reached: dict[int, str | None] = dict.fromkeys(self.seqs)
        channel_reached: dict[int, str] = {}
        resent: list[int] = []
        for row in stored.events:
            if row.message_seq is None:
                assert row.before == channel_reached.get(row.channel_id, row.before), "a channel's events have a gap"
                channel_reached[row.channel_id] = row.after
                continue
            assert row.before == reached[row.message_seq], "the chain of events has a gap"
            if row.before == row.after:
                assert row.reason in NEWS_WITHOUT_A_MOVE
            else:
                assert row.before is None or (row.before, row.after) in LEGAL_MOVES
            reached[row.message_seq] = row.after
            self.seen.add((row.before, row.after))
            if row.reason in {"resent_by_policy", "resent_after_outage"}:
                resent.append(row.message_seq)
            if row.reason == "duplicate":
                self.happened.add("duplicate")
        assert reached == {seq: row.state for seq, row in stored.messages.items()}
        assert len(set(resent)) == len(resent), "a message was sent again twice"

    def check_attempts(self, stored: Stored) -> None:
        numbers: dict[int, list[int]] = {seq: [] for seq in self.seqs}
        ticked = dict.fromkeys(self.seqs, 0)
        for row in stored.attempts:
            if row.outcome != "not_sent":
                numbers[row.message_seq].append(row.number)
            ticked[row.message_seq] += row.ticked_at is not None
            assert row.ticked_at is None or self.world.of(row.message_seq, row.number).out, "nobody ticked this one"
        for seq, row in stored.messages.items():
            # One that is on its way, or was ticked on its way, is not written down yet.
            assert sorted(numbers[seq]) == list(range(1, len(numbers[seq]) + 1))
            assert row.attempts - len(numbers[seq]) in ({1} if row.state is S.SENDING else {0, 1})
            assert row.duplicates == max(0, ticked[seq] - 1)

    def check_outages(self, stored: Stored) -> None:
        for channel_id, row in stored.channels.items():
            was_open = self.outage_open[channel_id]
            self.outage_open[channel_id] = row.state in BROKEN or (was_open and row.state is not C.UP)
            assert stored.open_outages.get(channel_id, 0) == self.outage_open[channel_id]
            assert (row.probe_at is not None) <= (row.state is not C.UP)
            self.happened.add(f"channel {row.state}")

    def teardown(self) -> None:
        """Whatever happened: once the channels are well, everything is settled by itself or shown to a person."""
        if not self.channels:
            return
        for channel_id in self.channels:
            self.world.regain_session(channel_id, releasing=False)
            if self.desk.channel_row(channel_id).state in {C.PAUSED, C.BLOCKED}:
                self.desk.write(lambda c, channel_id=channel_id: states.resume(c, channel_id, now=self.desk.now))
        for channel in (0, 1):  # somebody to try on a channel that is mute
            self.enqueue(channel, DAVE, "transactional", None, "hold", "Hello")
        for _ in range(80):
            if not self.unsettled():
                break
            self.live_well()
        assert not self.unsettled(), "something is stuck"
        self.what_is_stored_is_true_and_holds_together()

    def unsettled(self) -> list[tuple[int, str]]:
        rows = self.stored().messages.values()
        return [(row.seq, row.state) for row in rows if row.state is S.QUEUED or is_open(row)]

    def live_well(self) -> None:
        self.desk.wait(130)
        self.sweep()
        for channel in (0, 1):
            self.check(channel, "connected")
        for _ in range(4):
            for claim in self.claim(OURS):
                self.record(OURS, claim, self.world.post(claim, taken=True), Cause.ACCEPTED)
            self.desk.wait(3)
            for post in self.world.posts:
                post.ack = Ack.SERVER if post.out and post.ack is None else post.ack
            self.ask(answered=True)
        self.hear()
        self.judge(None)


NO_ANSWER = MessageInfo(ack=None, problem="timeout")


def is_open(row: Any) -> bool:
    return row.state in {S.SENDING, S.ACCEPTED, S.IN_DOUBT} and row.attention is None


def is_suspect(row: Any, channel: Any) -> bool:
    return channel.suspect_before is not None and row.accepted_at < channel.suspect_before


def fills_window(row: Any, channel: Any) -> bool:
    if row.state is not S.ACCEPTED:
        return bool(row.state is S.SENDING)
    overtaken = channel.overtaken_before is not None and row.accepted_at < channel.overtaken_before
    return not overtaken and not is_suspect(row, channel)


def play(desk: Desk, patch: pytest.MonkeyPatch, *, lives: int, steps: int) -> tuple[set[Any], set[str]]:
    """Returns the moves that were made, and what else happened."""
    given = read_settings(
        DATABASE_URL="sqlite:///nowhere.db", TRUETICK_MAX_UNACKED=4, WASENDER_API_KEY="k" * 64, _env_file=None
    )
    parts = replace(build_parts(given), engine=desk.engine, clock=lambda: desk.now)
    members = {"desk": desk, "parts": parts, "patch": patch, "seen": set(), "happened": set()}
    machine = type("LifeAtThisDesk", (Life,), members)
    chosen = settings(
        max_examples=lives,
        stateful_step_count=steps,
        deadline=None,
        derandomize="SEED" not in os.environ,
        phases=[Phase.generate] if "SEED" in os.environ else list(Phase),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)
    return machine.seen, machine.happened


def test_any_life_of_messages_and_channels_on_sqlite(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, happened = play(sqlite_desk, monkeypatch, lives=LIVES, steps=50)
    print(sorted(map(str, seen)), sorted(happened))


def test_any_life_of_messages_and_channels_on_postgresql(
    postgres_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(postgres_desk, monkeypatch, lives=4, steps=30)
