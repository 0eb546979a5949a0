"""Takes requests to send into the outbox: each once, however often it is asked; many at a time where many come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from worker.database import insert_many
from worker.domain.errors import Conflict, InvalidNumber, InvalidRequest, TruetickError
from worker.domain.message_request import LONGEST_KEPT_RECIPIENT, SendRequest
from worker.domain.message_status import MessageState
from worker.domain.phone import normalise_recipient
from worker.domain.time_zone import zone_of
from worker.models import Message
from worker.outbox import first_contacts, suppressions
from worker.outbox.events import Source, event, record
from worker.outbox.media import HandedOver
from worker.outbox.quotes import Quotes

PRIORITY_RANK = {"transactional": 0, "bulk": 1}

_FOUND = (Message.id, Message.channel_id, Message.fingerprint, Message.state, Message.idempotency_key)
_BY_ID = select(*_FOUND).where(Message.id.in_(bindparam("ids", expanding=True)))
_BY_KEY = select(*_FOUND).where(Message.idempotency_key.in_(bindparam("keys", expanding=True)))


@dataclass(frozen=True)
class Enqueued:
    """What became of a request. `created` is False when the message was there before."""

    message_id: UUID
    channel_id: int
    created: bool
    state: MessageState


@dataclass(frozen=True, kw_only=True)
class Order:
    """One request, on its way to one channel. `message_id` holds where the request names none."""

    request: SendRequest
    channel_id: int
    message_id: UUID
    #: The answer to somebody's wish for no more messages goes out nevertheless.
    is_answer: bool = False


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a request leaves open."""

    region: str
    on_doubt: str
    #: Which messages heed quiet hours unasked: bulk, or all; None: none does.
    quiet_hours_for: str | None = None


def enqueue(
    connection: Connection,
    request: SendRequest,
    *,
    channel_id: int,
    message_id: UUID,
    defaults: Defaults,
    now: datetime,
    source: Source,
    keep_refused: bool = False,
) -> Enqueued:
    """Store one request as a queued message, or find the one it was stored as. Raises what `enqueue_all` returns."""
    order = Order(request=request, channel_id=channel_id, message_id=message_id)
    [became] = enqueue_all(connection, [order], defaults=defaults, now=now, source=source, keep_refused=keep_refused)
    if isinstance(became, TruetickError):
        raise became
    return became


def enqueue_all(
    connection: Connection,
    orders: Sequence[Order],
    *,
    defaults: Defaults,
    now: datetime,
    source: Source,
    keep_refused: bool = False,
) -> list[Enqueued | TruetickError]:
    """Store requests as queued messages, or find the ones they were stored as; one answer each, in order.

    A recipient that nobody could reach is answered with InvalidNumber, or, with `keep_refused` (for senders who would
    never see the error), is stored as a failed message. So is an `expires_at` in the past answered with
    InvalidRequest, or stored, and expires; a recipient who wants no messages likewise (`opted_out`), or stored as
    failed. Conflict: an id or idempotency key that was used for something else.
    """
    known = _Known()
    answers: list[Enqueued | TruetickError | None] = [None] * len(orders)
    rows: dict[int, dict[str, Any]] = {}
    for place, order in enumerate(orders):
        try:
            rows[place] = _row(order, defaults, now, keep_refused=keep_refused)
        except InvalidNumber as error:
            answers[place] = error
    known.look_up(connection, rows.values())
    unwanted = suppressions.suppressed(connection, {row["recipient"] for row in rows.values() if row["recipient"]})
    files, quotes = HandedOver(connection, rows.values()), Quotes(connection, rows.values())
    new, by_us = [], []
    for place, row in rows.items():
        try:
            answers[place] = known.find(row)
        except Conflict as conflict:
            answers[place] = conflict
        if answers[place] is None and not keep_refused and row["expires_at"] and row["expires_at"] <= now:
            answers[place] = InvalidRequest(
                "expires_at has passed already, so the message could never be sent.", code="expired"
            )
        if answers[place] is None and row["recipient"] in unwanted and not orders[place].is_answer:
            if keep_refused:
                row |= _failed(suppressions.refusal())
            else:
                answers[place] = suppressions.refusal()
        if answers[place] is None and row["state"] is MessageState.QUEUED:
            refused = files.refusal(row) or quotes.refusal(row)
            if refused and keep_refused:
                row |= _failed(refused)
            elif refused:
                answers[place] = refused
        if answers[place] is None:
            quotes.keep_behind(row)
            quotes.note(row)
            answers[place] = known.add(row)
            new.append(row)
            if row["state"] is MessageState.QUEUED and not orders[place].is_answer:
                by_us.append(row)
    first_contacts.mark(connection, by_us)
    late = _insert(connection, new, source)
    return [late.get(one.message_id, one) if isinstance(one, Enqueued) else one for one in answers if one is not None]


def enqueue_unreadable(
    connection: Connection,
    given: Mapping[str, Any],
    error: TruetickError,
    *,
    channel_id: int,
    message_id: UUID,
    now: datetime,
    source: Source,
) -> Enqueued:
    """Store a request that cannot be used as a failed message, so that its sender can find out why.

    Raises Conflict for an id that was used for something else.
    """
    row = {
        "id": message_id,
        "channel_id": channel_id,
        "priority": PRIORITY_RANK["transactional"],
        "to": _kept(given.get("to", "")),
        "kind": "unknown",
        "content": {},
        "due_at": now,
        "on_doubt": "hold",
        "crm_ref": _kept(given["crm_ref"]) if given.get("crm_ref") else None,
        "fingerprint": "",
        "created_at": now,
        "attempts": 0,
        "checks": 0,
    }
    row |= _failed(error)
    known = _Known()
    known.look_up(connection, [row])
    became = known.find(row)
    if became is None:
        became = known.add(row)
        late = _insert(connection, [row], source).get(message_id, became)
        if isinstance(late, TruetickError):
            raise late
        became = late
    return became


def _row(order: Order, defaults: Defaults, now: datetime, *, keep_refused: bool) -> dict[str, Any]:
    """The message as it will stand in its table. Raises InvalidNumber, unless refused ones are kept."""
    request = order.request
    row: dict[str, Any] = {
        "id": request.message_id or order.message_id,
        "channel_id": order.channel_id,
        "state": MessageState.QUEUED,
        "priority": PRIORITY_RANK[request.priority],
        "to": _kept(request.to),
        "recipient": None,
        "kind": request.kind,
        "content": request.content,
        "due_at": request.earliest(now),
        "expires_at": request.expires_at,
        "on_doubt": request.on_doubt or defaults.on_doubt,
        "quiet_zone": None,
        "first_contact": False,
        "check_number": bool(request.check_number),
        "failover": bool(request.failover),
        "crm_ref": request.crm_ref,
        "metadata": request.metadata,
        "idempotency_key": request.idempotency_key,
        "created_at": now,
        "attempts": 0,
        "checks": 0,
        "error_code": None,
        "error_message": None,
    }
    try:
        row["recipient"] = _address(request.to, request.region or defaults.region)
    except InvalidNumber as error:
        if not keep_refused:
            raise
        row |= _failed(error)
    if row["recipient"] is not None and _heeds_quiet_hours(request, defaults):
        row["quiet_zone"] = zone_of(row["recipient"], defaults.region)
    row["fingerprint"] = request.fingerprint(row["recipient"])
    return row


def address_of(to: str, region: str) -> str | None:
    """The recipient that will stand in a message's row; None for what nobody can understand."""
    try:
        return _address(to, region)
    except InvalidNumber:
        return None


@lru_cache(maxsize=1024)
def _address(to: str, region: str) -> str:
    """Raises InvalidNumber. Kept for a while, because the choice of a channel asks as well, just before."""
    return normalise_recipient(to, region).address


def _heeds_quiet_hours(request: SendRequest, defaults: Defaults) -> bool:
    if request.quiet_hours is not None:
        return request.quiet_hours
    return defaults.quiet_hours_for == "all" or (defaults.quiet_hours_for == "bulk" and request.priority == "bulk")


def _failed(error: TruetickError) -> dict[str, Any]:
    return {"state": MessageState.FAILED, "error_code": error.code, "error_message": error.message[:500]}


class _Known:
    """The messages that a request may turn out to be: those stored before, and those of its own batch."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, tuple[Enqueued, str]] = {}
        self._by_key: dict[str, tuple[Enqueued, str]] = {}

    def look_up(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Learn the stored messages with the ids and keys of these."""
        ids = [row["id"] for row in rows]
        keys = [row["idempotency_key"] for row in rows if row.get("idempotency_key")]
        found = [*connection.execute(_BY_ID, {"ids": ids})] if ids else []
        found += connection.execute(_BY_KEY, {"keys": keys}) if keys else []
        for row in found:
            self._learn(row.id, row.channel_id, row.state, row.fingerprint, row.idempotency_key)

    def find(self, row: Mapping[str, Any]) -> Enqueued | None:
        """The message that this one is already. Raises Conflict where the same id or key means another one."""
        by_id = self._by_id.get(row["id"])
        by_key = self._by_key.get(row["idempotency_key"]) if row.get("idempotency_key") else None
        if not (found := by_id or by_key):
            return None
        message, fingerprint = found
        if fingerprint != row["fingerprint"] or (by_key and by_key[0].message_id != message.message_id):
            raise Conflict(
                f"Message {message.message_id} was enqueued before under the same id or idempotency key, with "
                "another recipient, content or option. Use a new key for a new message.",
            )
        return message

    def add(self, row: Mapping[str, Any]) -> Enqueued:
        """A message that is new; whatever else in its batch has its id or key is the same one."""
        key = row.get("idempotency_key")
        made = self._learn(row["id"], row["channel_id"], row["state"], row["fingerprint"], key)
        return replace(made, created=True)

    def _learn(
        self, message_id: UUID, channel_id: int, state: MessageState, fingerprint: str, key: str | None
    ) -> Enqueued:
        message = Enqueued(message_id, channel_id, False, state)
        self._by_id[message_id] = (message, fingerprint)
        if key:
            self._by_key[key] = (message, fingerprint)
        return message


def _insert(
    connection: Connection, rows: Sequence[dict[str, Any]], source: Source
) -> dict[UUID, Enqueued | TruetickError]:
    """Store messages with their first events. Returns what became of those that a parallel request stored first."""
    if not rows:
        return {}
    made = insert_many(connection, Message.metadata.tables["messages"], rows, returning=("seq", "id"))
    seqs = {row.id: row.seq for row in made}
    record(
        connection,
        [
            event(
                message_seq=seqs[row["id"]],
                channel_id=row["channel_id"],
                at=row["created_at"],
                source=source,
                before=None,
                after=row["state"],
                reason=row.get("error_code") or "",
            )
            for row in rows
            if row["id"] in seqs
        ],
    )
    late = [row for row in rows if row["id"] not in seqs]
    known = _Known()
    known.look_up(connection, late)
    return {row["id"]: _became(known, row) for row in late}


def _became(known: _Known, row: Mapping[str, Any]) -> Enqueued | TruetickError:
    try:
        found = known.find(row)
    except Conflict as conflict:
        return conflict
    assert found is not None
    return found


def _kept(value: object) -> str:
    try:
        return _storable(str(value))[:LONGEST_KEPT_RECIPIENT]
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists in lists
        return f"({type(value).__name__})"


def _storable(text: str) -> str:
    """Cut to what one column may hold and free of what no database takes (NUL, lone surrogates)."""
    return text[:4096].replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
