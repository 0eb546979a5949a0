"""Everything that can happen to messages and channels, as rules to be played in any order.

A pretend WaSender and WhatsApp (`World`) know what really went out. Evidence may come late, twice, in any order or
never, but it does not lie; `Truths` are checked after every step.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
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
)
from sqlalchemy import Connection as Database

from tests.outbox.desk import ALICE, BOB, CAROL, OURS, THEIRS, Desk
from tests.outbox.truths import Truths, read
from tests.outbox.world import Logs, Post, World
from worker import doubt, evidence, hearing, opt_out
from worker.channels import states, window
from worker.domain.channel_state import ChannelState
from worker.domain.doubt import Verdict
from worker.domain.errors import Conflict, InvalidRequest
from worker.domain.evidence import Ack, Connection, MessageInfo
from worker.domain.outcomes import Cause
from worker.domain.text_digest import text_digest
from worker.domain.webhook_fact import Fact, SendFailed, SentSeen, TickSeen
from worker.outbox import people, webhook_facts
from worker.outbox.claims import Claim, claim_next
from worker.outbox.events import Source
from worker.outbox.questions import take_due_checks
from worker.outbox.ticks import Tick
from worker.parts import Parts

C = ChannelState
DAVE = "+917033009603"
RUNS = st.sampled_from([OURS, THEIRS])
HEARD = st.sampled_from([True, True, False])
WHICH = st.integers(0, 1000)
CHANNEL = st.integers(0, 1)
TICKS = st.sampled_from([Ack.SERVER, Ack.DEVICE, Ack.READ, Ack.PLAYED])
NOT_CONNECTED = ["need_scan", "need_passkey", "logged_out", "expired", "connecting", "disconnected", "odd"]
WORDS = st.sampled_from([*["connected"] * 8, *NOT_CONNECTED])
#: What an answer may be when WaSender took a message, and when it did not.
NOT_SENT = [Cause.UNREACHABLE, Cause.THROTTLED, Cause.CHANNEL_DOWN, Cause.NOT_STARTED]
ANSWERS = {
    True: st.sampled_from([Cause.ACCEPTED, Cause.ACCEPTED, Cause.TIMEOUT, Cause.SERVER_ERROR]),
    False: st.sampled_from([*NOT_SENT, Cause.REFUSED, *[Cause.CONNECTION_LOST] * 3]),
}
UNANSWERED = frozenset({Cause.TIMEOUT, Cause.SERVER_ERROR, Cause.CONNECTION_LOST})
NO_ANSWER = MessageInfo(ack=None, problem="timeout")


class Life(RuleBasedStateMachine):
    desk: Desk
    parts: Parts
    patch: pytest.MonkeyPatch
    #: What was seen in all lives together.
    moves: set[tuple[str | None, str]]
    happened: set[str]
    in_flight: Bundle[tuple[str, Claim, Post, Cause]] = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.desk.clear()
        self.world = World()
        self.logs = Logs(self.world)
        self.patch.setattr(doubt, "account", self.logs)
        self.truths = Truths(self.desk, self.world)
        self.channels: list[int] = []

    @initialize(window=st.sampled_from([1, 2, 4]))
    def begin(self, window: int) -> None:
        self.channels = [self.desk.channel(name, C.UNKNOWN) for name in ("one", "two")]
        for channel_id in self.channels:
            self.desk.report(channel_id, Connection.CONNECTED)
        self.desk.set_channels(unacked_window=window)
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
        if to in self.truths.opted_out:
            with pytest.raises(InvalidRequest):
                self.desk.enqueue(channel_id, to, text)
            return
        self.truths.seqs.append(self.desk.enqueue(channel_id, to, text, priority=priority, on_doubt=on_doubt, **more))

    @rule()
    def one_person_wants_no_more_messages_or_wants_them_again(self) -> None:
        self.desk.wait(1)
        if CAROL in self.truths.opted_out:
            opt_out.start(self.parts, CAROL, at=self.desk.now)
        else:
            opt_out.stop(self.parts, CAROL, at=self.desk.now, source=Source.WEBHOOK)
        self.truths.opted_out ^= {CAROL}

    # Sending

    @rule(run=RUNS, taken=st.booleans(), data=st.data())
    def send(self, run: str, taken: bool, data: st.DataObject) -> None:
        """The whole way of a message on each channel that may send."""
        for claim in self.claim(run):
            self.record(run, claim, self.world.post(claim, taken=taken), data.draw(ANSWERS[taken]))

    @rule(target=in_flight, run=RUNS, taken=st.booleans(), data=st.data())
    def begin_to_send(self, run: str, taken: bool, data: st.DataObject) -> Any:
        claims = self.claim(run)
        return multiple(
            *((run, claim, self.world.post(claim, taken=taken), data.draw(ANSWERS[taken])) for claim in claims)
        )

    @rule(flight=consumes(in_flight))
    def answer(self, flight: tuple[str, Claim, Post, Cause]) -> None:
        """Perhaps long after everybody thought that its worker was lost."""
        self.record(*flight)

    @rule(flight=in_flight)
    def answer_whose_commit_seemed_lost(self, flight: tuple[str, Claim, Post, Cause]) -> None:
        """It is recorded, and stays with the run, which records it again."""
        self.record(*flight)

    @rule(flight=consumes(in_flight))
    def lose_the_worker(self, flight: tuple[str, Claim, Post, Cause]) -> None:
        """Its answer is never heard of."""

    def claim(self, run: str) -> Sequence[Claim]:
        self.desk.lease(run, horizon_s=3600)
        before = read(self.desk)

        def work(connection: Database) -> Sequence[Claim]:
            found = claim_next(connection, self.channels, run, now=self.desk.now)
            for claim in found.claims:
                if before.channels[claim.channel_id].state is C.MUTE:
                    window.probed(connection, claim.channel_id, now=self.desk.now, ack_timeout_s=60)
            return found.claims

        claims: Sequence[Claim] = self.desk.write(work)
        self.truths.check_claims(before, claims)
        return claims

    def record(self, run: str, claim: Claim, post: Post, cause: Cause) -> None:
        gateway_msg_id = post.gateway_msg_id if cause is Cause.ACCEPTED else None
        self.desk.finish(claim, cause, token=run, gateway_msg_id=gateway_msg_id)
        if cause in UNANSWERED:
            self.desk.write(lambda c: window.begin_anew(c, [claim.channel_id]))

    # Evidence

    @precondition(lambda self: any(post.out for post in self.world.posts))
    @rule(which=WHICH, ack=TICKS)
    def whatsapp_ticks(self, which: int, ack: Ack) -> None:
        """It is true from now on; whether anybody hears of it is another matter."""
        post = self.some_post(which, out=True)
        post.ack = max(post.ack or ack, ack)

    @precondition(lambda self: any(post.ack for post in self.world.posts))
    @rule(which=WHICH, ack=TICKS, heard=HEARD)
    def webhook_of_a_tick(self, which: int, ack: Ack, heard: bool) -> None:
        ticked = [post for post in self.world.posts if post.ack]
        post = ticked[which % len(ticked)]
        assert post.ack is not None
        self.tell(post, TickSeen(whatsapp_key_id=post.key_id, ack=min(ack, post.ack)), heard=heard)

    @precondition(lambda self: any(post.out for post in self.world.posts))
    @rule(which=WHICH, named=st.booleans(), heard=HEARD)
    def webhook_of_a_sending(self, which: int, named: bool, heard: bool) -> None:
        post = self.some_post(which, out=True)
        fact = SentSeen(
            whatsapp_key_id=post.key_id,
            recipient=post.recipient,
            text_digest=text_digest(post.text),
            gateway_msg_id=post.gateway_msg_id if named else None,
        )
        self.tell(post, fact, heard=heard)

    @precondition(lambda self: any(post.taken and not post.out for post in self.world.posts))
    @rule(which=WHICH, named=st.booleans(), heard=HEARD)
    def webhook_of_a_failure(self, which: int, named: bool, heard: bool) -> None:
        post = self.some_post(which, out=False)
        post.dropped = True
        fact = SendFailed(recipient=post.recipient, gateway_msg_id=post.gateway_msg_id if named else None)
        self.tell(post, fact, heard=heard)

    def some_post(self, which: int, *, out: bool) -> Post:
        fitting = [post for post in self.world.posts if post.taken and post.out == out]
        return fitting[which % len(fitting)]

    def tell(self, post: Post, fact: Fact, *, heard: bool) -> None:
        self.desk.write(lambda c: webhook_facts.store(c, post.channel_id, [fact], self.desk.now))
        if heard:
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
        before = read(self.desk)
        self.logs.verdict = verdict
        doubt.resolve(self.parts)
        self.truths.check_judgement(before, read(self.desk))

    @rule(which=WHICH, again=st.booleans())
    def a_person_decides(self, which: int, again: bool) -> None:
        """About any message; most of them are none of a person's business."""
        seq = self.truths.seqs[which % len(self.truths.seqs)]
        message_id = self.desk.message(seq).id
        try:
            if again:
                self.desk.write(lambda c: people.resend(c, message_id, now=self.desk.now))
                self.truths.let_go_on(seq)
            else:
                self.desk.write(lambda c: people.cancel(c, message_id, now=self.desk.now))
        except Conflict:
            return

    # Channels

    @rule(channel=CHANNEL, word=WORDS)
    def check(self, channel: int, word: str) -> None:
        connected = Connection.CONNECTED if word == "connected" else Connection.NOT_CONNECTED
        self.desk.report(self.channels[channel], connected, word)

    @rule(channel=CHANNEL, releasing=st.booleans())
    def lose_or_regain_the_session(self, channel: int, releasing: bool) -> None:
        """Whatever WaSender says of it. What it holds goes out then, or is forgotten."""
        channel_id = self.channels[channel]
        if channel_id in self.world.gone:
            self.world.regain_session(channel_id, releasing=releasing)
        else:
            self.world.lose_session(channel_id)

    @rule(channel=CHANNEL, kind=st.sampled_from(["mute", "bad key", "no answer", "no plan", "paused"]))
    def trouble(self, channel: int, kind: str) -> None:
        channel_id = self.channels[channel]
        if kind == "mute":
            self.desk.go_mute(channel_id)
        elif kind == "bad key":
            self.desk.report(channel_id, Connection.REFUSED, Cause.BAD_KEY)
        elif kind == "no answer":
            self.desk.report(channel_id, Connection.UNVERIFIED)
        elif kind == "no plan":
            self.desk.write(lambda c: states.block(c, channel_id, Cause.NO_SUBSCRIPTION, now=self.desk.now))
        else:
            self.desk.write(lambda c: states.pause(c, channel_id, now=self.desk.now))

    @rule(channel=CHANNEL)
    def a_person_lets_it_go_on(self, channel: int) -> None:
        channel_id = self.channels[channel]
        if self.desk.channel_row(channel_id).state in {C.PAUSED, C.BLOCKED}:
            self.desk.write(lambda c: states.resume(c, channel_id, now=self.desk.now))
            self.check(channel, "connected")

    @rule(
        channel=CHANNEL,
        times=st.sampled_from([1, 1, 2]),
        how=st.sampled_from(["mute", "need_scan"]),
        releasing=st.booleans(),
        steps=st.sampled_from([3, 5, 7, 9, 9, 9]),
    )
    def a_whole_outage(self, channel: int, times: int, how: str, releasing: bool, steps: int) -> None:
        """As it mostly goes: messages are swallowed, it is noticed, it ends, and what was at risk is judged."""
        channel_id = self.channels[channel]
        story: list[Callable[[], Any]] = [
            lambda: self.world.lose_session(channel_id),
            self.send_well,
            self.send_well,
            lambda: self.desk.wait(61),
            lambda: self.desk.go_mute(channel_id) if how == "mute" else self.check(channel, how),
            lambda: self.world.regain_session(channel_id, releasing=releasing),
            lambda: self.desk.wait(20),
            lambda: self.send_well() if how == "mute" else self.check(channel, "connected"),
            self.settle,
        ]
        for step in [*story * (times - 1), *story[:steps]]:
            step()
            self.truths.check()

    def send_well(self) -> None:
        """WaSender takes whatever may be sent; what WhatsApp gets is ticked, and asked about in time."""
        for claim in self.claim(OURS):
            self.record(OURS, claim, self.world.post(claim, taken=True), Cause.ACCEPTED)
        for post in self.world.posts:
            post.ack = Ack.SERVER if post.out and post.ack is None else post.ack
        self.desk.wait(3)
        self.ask(answered=True)

    @rule(verdict=st.sampled_from([None, None, None, Verdict.NO_PROOF, Verdict.UNCLEAR]))
    def settle(self, verdict: Verdict | None = None) -> None:
        """Time enough for what is open to be asked about and judged."""
        self.desk.wait(65)
        self.ask(answered=True)
        self.judge(verdict)

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

    @invariant()
    def what_is_stored_is_true_and_holds_together(self) -> None:
        if self.channels:
            self.truths.check()

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
            if not self.truths.unsettled():
                break
            self.live_well()
        assert not self.truths.unsettled(), "something is stuck"
        self.truths.check()
        self.moves |= self.truths.moves
        self.happened |= self.truths.happened

    def live_well(self) -> None:
        self.desk.wait(130)
        self.sweep()
        for channel in (0, 1):
            self.check(channel, "connected")
        for _ in range(4):
            self.send_well()
        hearing.hear_webhooks(self.parts)
        self.judge(None)
