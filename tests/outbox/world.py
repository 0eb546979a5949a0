"""What really happens outside, for tests that need the truth: which posts WaSender took, and which WhatsApp has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from worker.account import LookedUp
from worker.domain.doubt import Verdict
from worker.domain.evidence import Ack, MessageInfo
from worker.outbox.claims import Claim
from worker.parts import Parts


@dataclass(eq=False, kw_only=True)
class Post:
    """One POST. WaSender took it or not, and WhatsApp has it or not; neither changes by what is said about it."""

    seq: int
    channel_id: int
    recipient: str
    text: str
    number: int
    taken: bool
    gateway_msg_id: int
    out: bool = False
    #: WaSender has given it up: it never goes out.
    dropped: bool = False
    ack: Ack | None = None

    @property
    def key_id(self) -> str:
        return f"KEY{self.gateway_msg_id}"

    @property
    def info(self) -> MessageInfo:
        """What WaSender answers when asked about it."""
        if not self.out:
            return MessageInfo(ack=Ack.ERROR if self.dropped else Ack.PENDING)
        return MessageInfo(ack=self.ack or Ack.PENDING, whatsapp_key_id=self.key_id)


@dataclass(kw_only=True)
class World:
    posts: list[Post] = field(default_factory=list)
    #: The channels whose session is gone, whatever WaSender says of it.
    gone: set[int] = field(default_factory=set)

    def post(self, claim: Claim, *, taken: bool) -> Post:
        made = Post(
            seq=claim.seq,
            channel_id=claim.channel_id,
            recipient=claim.recipient,
            text=claim.content["text"],
            number=claim.attempt,
            taken=taken,
            gateway_msg_id=1000 + len(self.posts),
        )
        made.out = taken and claim.channel_id not in self.gone
        self.posts.append(made)
        return made

    def lose_session(self, channel_id: int) -> None:
        self.gone.add(channel_id)

    def regain_session(self, channel_id: int, *, releasing: bool) -> None:
        """WaSender sends what it still holds, or has forgotten it."""
        self.gone.discard(channel_id)
        for post in self.posts:
            if post.channel_id == channel_id and post.taken and not post.out and not post.dropped:
                post.out = releasing

    def of(self, seq: int, number: int) -> Post:
        """The post that an attempt stands for: the last of that number, for one that was refused leaves it free."""
        return next(post for post in reversed(self.posts) if (post.seq, post.number) == (seq, number))

    def outs(self, seq: int) -> Iterator[Post]:
        return (post for post in self.posts if post.seq == seq and post.out)


class Logs:
    """In the place of `worker.account`: WaSender's message logs, which tell the truth or do not tell."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: What they say of every attempt; None: the truth.
        self.verdict: Verdict | None = None

    def read_logs(self, parts: Parts, rows: Sequence[Any]) -> None:
        """They are read when the verdicts are given."""

    def verdicts(
        self,
        connection: Connection,
        rows: Sequence[Any],
        look: None,
        *,
        now: datetime,
    ) -> dict[int, LookedUp]:
        return {row.seq: self._looked_up(self._world.of(row.seq, row.attempts)) for row in rows}

    def _looked_up(self, post: Post) -> LookedUp:
        if self.verdict is not None:
            return LookedUp(verdict=self.verdict)
        if not post.taken:
            return LookedUp(verdict=Verdict.ABSENT)
        found = Verdict.FOUND_FAILED if post.dropped else Verdict.FOUND
        return LookedUp(verdict=found, gateway_msg_id=post.gateway_msg_id)
