"""One run of an import: rows in chunks, each stored in one transaction. A run that is cut off is started again."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from uuid import uuid4

from worker import intake
from worker.database import despite_deadlocks, transaction
from worker.domain.errors import Conflict, InvalidRequest, TruetickError
from worker.domain.message_request import SendRequest
from worker.importing.plan import DUPLICATE_ROW, Plan
from worker.importing.refused import RefusedRows
from worker.outbox.enqueue import Enqueued, address_of
from worker.outbox.events import Source
from worker.parts import Parts
from worker.table_file import Row, TableFile

CHUNK = 500
#: How many messages are shown as examples.
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Example:
    """A message as it will go out."""

    row: int
    to: str
    text: str


@dataclass(kw_only=True)
class Result:
    """What has become of the rows so far; those refused are counted elsewhere."""

    taken: int = 0
    #: Stored by an earlier start of the same run.
    taken_before: int = 0
    examples: list[Example] = field(default_factory=list)


class _OnlyTried(Exception):
    """Undoes the transaction of a dry run."""


class Import:
    """One run over one table. `result` and `refused` are right after each chunk, also when the run is cut off."""

    def __init__(self, parts: Parts, table: TableFile, plan: Plan, refused: RefusedRows, *, dry_run: bool) -> None:
        self.result = Result()
        self._parts = parts
        self._table = table
        self._plan = plan
        self._refused = refused
        self._dry_run = dry_run
        #: Digests of recipients and texts: two rows that say the same to the same person are a mistake.
        self._said: set[int] = set()

    def run(self, *, advance: Callable[[int], None], wake: Callable[[], None]) -> None:
        """Go through all rows. `advance` is told how many are done; `wake` is called when there is something to send.

        A dry run does the very same, and undoes each transaction.
        """
        is_awake = False
        last: dict[int, Enqueued] = {}
        for chunk in _chunks(self._table):
            made = self._take(chunk)
            advance(len(chunk))
            last |= made
            if not is_awake and self._needs_wake(made):
                is_awake = True
                wake()
        if self._needs_wake(last):
            wake()

    def _needs_wake(self, made: Mapping[int, Enqueued]) -> bool:
        return not self._dry_run and any(intake.needs_wake(self._parts, one) for one in made.values())

    def _take(self, chunk: Sequence[Row]) -> dict[int, Enqueued]:
        """Store what can be stored of a chunk. Returns one of the messages that it made, for each channel."""
        asked = {row.number: self._asked(row) for row in chunk}
        sound = {number: request for number, request in asked.items() if isinstance(request, SendRequest)}
        stored = despite_deadlocks(partial(self._store, list(sound.values())))
        became = dict(zip(sound, stored, strict=True))
        made: dict[int, Enqueued] = {}
        for row in chunk:
            request = asked[row.number]
            answer = became.get(row.number, request)
            if isinstance(answer, Conflict):
                answer = Conflict(
                    f"This row was sent before, by run {self._plan.run}, with another recipient, text or option. "
                    "Give a new --run-name if it has to be sent again.",
                )
            if isinstance(answer, TruetickError):
                self._refused.add(row, answer)
            elif isinstance(answer, Enqueued) and isinstance(request, SendRequest):
                self._count(row, request, answer)
                if answer.created:
                    made[answer.channel_id] = answer
        return made

    def _asked(self, row: Row) -> SendRequest | TruetickError:
        try:
            request = self._plan.request(row)
        except TruetickError as error:
            return error
        recipient = address_of(request.to, request.region or self._parts.settings.default_region)
        said = blake2b(f"{recipient}\0{request.text}".encode(), digest_size=8).digest()
        key = int.from_bytes(said)
        if recipient is not None and key in self._said:
            return InvalidRequest("An earlier row says the same to the same number.", code=DUPLICATE_ROW)
        self._said.add(key)
        return request

    def _store(self, requests: Sequence[SendRequest]) -> Sequence[Enqueued | TruetickError]:
        became: Sequence[Enqueued | TruetickError] = ()
        try:
            with transaction(self._parts.engine) as connection:
                became = intake.send_requests(
                    self._parts,
                    connection,
                    [(request, uuid4()) for request in requests],
                    now=self._parts.clock(),
                    source=Source.OPERATOR,
                )
                if self._dry_run:
                    raise _OnlyTried
        except _OnlyTried:
            pass
        return became

    def _count(self, row: Row, request: SendRequest, answer: Enqueued) -> None:
        if not answer.created:
            self.result.taken_before += 1
            return
        self.result.taken += 1
        if len(self.result.examples) < SHOWN:
            self.result.examples.append(Example(row=row.number, to=request.to, text=request.text or ""))


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
