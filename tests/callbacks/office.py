"""A Truetick whose messages move, and which tells endpoints of it, at a time of the test's own choosing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, select

from tests.callbacks.receiver import SECRET
from tests.outbox.desk import DEFAULTS, Desk
from worker.callbacks import endpoints, parked
from worker.callbacks.endpoints import NewEndpoint
from worker.callbacks.teller import Teller
from worker.clock import system_clock
from worker.domain.evidence import Ack
from worker.domain.message_request import parse_request
from worker.models import Callback, Endpoint, Event, Message
from worker.outbox.enqueue import Enqueued, Order, enqueue, enqueue_all
from worker.outbox.events import Source, event, record
from worker.parts import Parts

SENT, DELIVERED, READ = Ack.SERVER, Ack.DEVICE, Ack.READ


class Office:
    def __init__(self, url: str, parts: Parts) -> None:
        self.desk = Desk(url)
        #: Now, so that receivers who look at the clock believe in it.
        self.desk.now = system_clock()
        self.parts = self.another(parts)
        self.teller = Teller()
        self.channel = self.desk.channel()
        self._recipients = 0

    def another(self, parts: Parts) -> Parts:
        """Parts of another process, by this office's clock."""
        return replace(parts, clock=lambda: self.desk.now)

    def close(self) -> None:
        self.parts.stopping.set()
        assert self.teller.until_idle(20), "a run does not end"
        self.desk.close()

    # Endpoints

    def add(self, address: str | None, name: str = "crm", secret: str | None = SECRET) -> None:
        sealed = secret and self.parts.vault.seal(secret)
        new = NewEndpoint(name=name, address=address, secret_encrypted=sealed)
        self.desk.write(lambda c: endpoints.add(c, new, self.desk.now))

    def endpoint(self, name: str = "crm") -> Row[Any]:
        return self.desk.read(select(Endpoint.__table__).where(Endpoint.name == name))[0]

    def look(self) -> None:
        """Start telling what is due; returns before it is told."""
        self.teller.look(self.parts)

    def tell(self) -> None:
        """Tell all that is due, and wait for the end of it."""
        self.look()
        assert self.teller.until_idle(20), "a run does not end"

    def replay(self, name: str = "crm", **options: Any) -> int:
        row = self.endpoint(name)
        options = {"since": None} | options
        total = 0
        while count := self.desk.write(lambda c: parked.replay(c, row.id, self.desk.now, **options)):
            total += count
        self.desk.write(lambda c: endpoints.try_now(c, row.id, self.desk.now))
        return total

    # Messages

    def message(self, *acks: Ack) -> str:
        """A message that WaSender has taken, and what WhatsApp said of it since. Returns its id."""
        self._recipients += 1
        seq = self.desk.accepted(self.channel, f"+9170330{self._recipients:05d}")
        message_id = str(self.desk.message(seq).id)
        for ack in acks:
            self.tick(message_id, ack)
        return message_id

    def tick(self, message_id: str, ack: Ack) -> None:
        found = self.desk.read(select(Message.seq).where(Message.id == UUID(message_id)))
        assert self.desk.tick(found[0].seq, ack) == 1

    def failed_at_once(self) -> str:
        """A message that fails as it is stored."""
        enqueued: Enqueued = self.desk.write(
            lambda c: enqueue(
                c,
                parse_request({"to": "nobody's number", "text": "Hello"}),
                channel_id=self.channel,
                message_id=uuid4(),
                defaults=DEFAULTS,
                now=self.desk.now,
                source=Source.API,
                keep_refused=True,
            )
        )
        return str(enqueued.message_id)

    def many_changes(self, how_many: int) -> None:
        """Messages with one change each, put there without their stories."""
        orders = [
            Order(
                request=parse_request({"to": f"+9170340{index:05d}", "text": "Hello"}),
                channel_id=self.channel,
                message_id=uuid4(),
            )
            for index in range(how_many)
        ]
        now = self.desk.now
        self.desk.write(lambda c: enqueue_all(c, orders, defaults=DEFAULTS, now=now, source=Source.API))
        made = self.desk.read(select(Message.seq).order_by(Message.seq.desc()).limit(how_many))
        ticked = [
            event(
                message_seq=row.seq,
                channel_id=self.channel,
                at=now,
                source=Source.INFO,
                before="queued",
                after="sent",
            )
            for row in made
        ]
        self.desk.write(lambda c: record(c, ticked))

    # What is stored

    def callbacks(self, name: str = "crm") -> Sequence[Row[Any]]:
        query = (
            select(Callback.__table__)
            .join(Endpoint, Endpoint.id == Callback.endpoint_id)
            .where(Endpoint.name == name)
            .order_by(Callback.feed_no)
        )
        return self.desk.read(query)

    def states(self, name: str = "crm") -> list[str]:
        return [row.state for row in self.callbacks(name)]

    def numbered(self) -> int:
        return len(self.desk.read(select(Event.id).where(Event.feed_no.is_not(None))))

    def wait(self, **spell: float) -> None:
        self.desk.now += timedelta(**spell)
