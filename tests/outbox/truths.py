"""What must be so after every step, whatever happened: read from the tables, compared with what is true outside."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from tests.domain.legal_moves import LEGAL_MOVES
from tests.outbox.desk import Desk
from tests.outbox.world import World
from worker.database import snapshot
from worker.domain.channel_state import ChannelState
from worker.domain.doubt import MOST_RESENDS
from worker.domain.message_status import PUBLIC_STATUS, TICKED_STATES, MessageState
from worker.models import Attempt, Channel, Event, Message, Outage
from worker.outbox.claims import Claim

S, C = MessageState, ChannelState
BROKEN = {C.DOWN, C.MUTE, C.BLOCKED}
#: What a CRM may see next, by what it sees now.
NEXT_STATUSES: dict[str, set[str]] = {
    "pending": {"sent", "delivered", "read", "failed", "expired", "cancelled"},
    "failed": {"sent", "delivered", "read"},
    "expired": {"sent", "delivered", "read"},
    "sent": {"delivered", "read"},
    "delivered": {"read"},
    "read": set(),
    "cancelled": set(),
}
#: Events that tell of no move.
NEWS_WITHOUT_A_MOVE = {"duplicate", "in_doubt", "no_tick", "channel_out"}
MESSAGES = select(Message.__table__).order_by(Message.seq)
EVENTS = select(Event.__table__).order_by(Event.id)
OPEN_OUTAGES = select(Outage.channel_id, func.count()).where(Outage.ended_at.is_(None)).group_by(Outage.channel_id)


@dataclass(frozen=True)
class Stored:
    channels: dict[int, Any]
    messages: dict[int, Any]
    attempts: Sequence[Any]
    events: Sequence[Any]
    open_outages: dict[int, int]


def read(desk: Desk) -> Stored:
    with snapshot(desk.engine) as connection:
        return Stored(
            channels={row.id: row for row in connection.execute(select(Channel.__table__))},
            messages={row.seq: row for row in connection.execute(MESSAGES)},
            attempts=connection.execute(select(Attempt.__table__)).all(),
            events=connection.execute(EVENTS).all(),
            open_outages={row[0]: row[1] for row in connection.execute(OPEN_OUTAGES)},
        )


def is_open(row: Any) -> bool:
    return row.state in {S.SENDING, S.ACCEPTED, S.IN_DOUBT} and row.attention is None


def is_suspect(row: Any, channel: Any) -> bool:
    return channel.suspect_before is not None and row.accepted_at < channel.suspect_before


def fills_window(row: Any, channel: Any) -> bool:
    if row.state is not S.ACCEPTED:
        return bool(row.state is S.SENDING)
    if row.gateway_msg_id is None:  # a webhook has found it, and nobody can ask for its tick
        return False
    overtaken = channel.overtaken_before is not None and row.accepted_at < channel.overtaken_before
    return not overtaken and not is_suspect(row, channel)


class Truths:
    """Follows one life, for some truths are about what was before."""

    def __init__(self, desk: Desk, world: World) -> None:
        self.desk = desk
        self.world = world
        #: The messages that were ever asked for.
        self.seqs: list[int] = []
        self.sent_again_by_a_person: Counter[int] = Counter()
        #: Who wants no messages.
        self.opted_out: set[str] = set()
        #: What was seen in this life, to tell a thorough play from an idle one.
        self.moves: set[tuple[str | None, str]] = set()
        self.happened: set[str] = set()
        self._status: dict[int, str] = {}
        self._outage_open: Counter[int] = Counter()

    def let_go_on(self, seq: int) -> None:
        """A person has had this one sent again, so it is pending anew."""
        self.sent_again_by_a_person[seq] += 1
        self._status[seq] = "pending"

    def check_claims(self, before: Stored, claims: Sequence[Claim]) -> None:
        assert len({claim.channel_id for claim in claims}) == len(claims)
        for claim in claims:
            channel, message = before.channels[claim.channel_id], before.messages[claim.seq]
            assert message.state is S.QUEUED
            assert message.recipient not in self.opted_out, "they want no messages"
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

    def check(self) -> None:
        stored = read(self.desk)
        assert list(stored.messages) == self.seqs, "a message vanished"
        self.check_events(stored)
        self.check_messages(stored)
        self.check_attempts(stored)
        self.check_outages(stored)

    def check_messages(self, stored: Stored) -> None:
        sending = [(row.channel_id, row.recipient) for row in stored.messages.values() if row.state is S.SENDING]
        assert len(set(sending)) == len(sending), "two are on their way to one recipient"
        for seq, row in stored.messages.items():
            assert row.state is not S.QUEUED or row.recipient not in self.opted_out, "it would wait in vain"
            outs = len(list(self.world.outs(seq)))
            assert outs or row.state not in TICKED_STATES, "called sent, but WhatsApp never had it"
            assert not outs or row.state is not S.CANCELLED, "called withdrawn, but WhatsApp has it"
            assert outs <= 1 + row.resends, "doubled, though nobody had it sent again"
            assert row.resends <= MOST_RESENDS + self.sent_again_by_a_person[seq]
            assert row.attention is None or row.state in {S.ACCEPTED, S.IN_DOUBT}, "nobody needs to look at it"
            status, was = PUBLIC_STATUS[row.state], self._status.get(seq, "pending")
            assert status == was or status in NEXT_STATUSES[was]
            self._status[seq] = status

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
            self.moves.add((row.before, row.after))
            if row.reason == "resent_by_policy":
                assert stored.messages[row.message_seq].on_doubt == "resend", "its policy is to hold it"
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
            was_open = bool(self._outage_open[channel_id])
            self._outage_open[channel_id] = int(row.state in BROKEN or (was_open and row.state is not C.UP))
            assert stored.open_outages.get(channel_id, 0) == self._outage_open[channel_id]
            assert (row.probe_at is not None) <= (row.state is not C.UP)
            self.happened.add(f"channel {row.state}")

    def unsettled(self) -> list[tuple[int, str]]:
        """What is neither at its end nor shown to a person."""
        rows = read(self.desk).messages.values()
        return [(row.seq, row.state) for row in rows if row.state is S.QUEUED or is_open(row)]
