"""Takes a request to send into the outbox: once, however often it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, or_, select

from worker.database import insert_unless_there
from worker.domain.errors import Conflict, InvalidNumber, InvalidRequest, TruetickError
from worker.domain.message_request import LONGEST_KEPT_RECIPIENT, SendRequest
from worker.domain.message_status import MessageState
from worker.domain.phone import normalise_recipient
from worker.models import Message
from worker.outbox.events import Source, event, record

PRIORITY_RANK = {"transactional": 0, "bulk": 1}


@dataclass(frozen=True)
class Enqueued:
    """What became of a request. `created` is False when the message was there before."""

    message_id: UUID
    channel_id: int
    created: bool
    state: MessageState


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a request leaves open."""

    region: str
    on_doubt: str


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
    """Store a request as a queued message, or find the one it was stored as.

    `message_id` holds where the request names none. A recipient that nobody could reach raises InvalidNumber, or,
    with `keep_refused` (for senders who would never see the error), is stored as a failed message. So does an
    `expires_at` in the past raise InvalidRequest, or is stored, and expires. Raises Conflict for an id or idempotency
    key that was used for something else.
    """
    row: dict[str, Any] = {
        "id": request.message_id or message_id,
        "channel_id": channel_id,
        "state": MessageState.QUEUED,
        "priority": PRIORITY_RANK[request.priority],
        "to": _kept(request.to),
        "kind": request.kind,
        "content": request.content,
        "due_at": request.earliest(now),
        "expires_at": request.expires_at,
        "on_doubt": request.on_doubt or defaults.on_doubt,
        "crm_ref": request.crm_ref,
        "meta": request.metadata,
        "idempotency_key": request.idempotency_key,
        "created_at": now,
    }
    recipient = None
    try:
        recipient = normalise_recipient(request.to, request.region or defaults.region).address
    except InvalidNumber as error:
        if not keep_refused:
            raise
        row |= _failed(error)
    row |= {"recipient": recipient, "fingerprint": request.fingerprint(recipient)}
    found = _find(connection, row)
    if found is not None:
        return found
    if not keep_refused and request.expires_at is not None and request.expires_at <= now:
        raise InvalidRequest("expires_at has passed already, so the message could never be sent.", code="expired")
    return _insert(connection, row, source)


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
    """Store a request that cannot be used as a failed message, so that its sender can find out why."""
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
    }
    row |= _failed(error)
    return _find(connection, row) or _insert(connection, row, source)


def _failed(error: TruetickError) -> dict[str, Any]:
    return {"state": MessageState.FAILED, "error_code": error.code, "error_message": error.message[:500]}


def _insert(connection: Connection, row: dict[str, Any], source: Source) -> Enqueued:
    seq = connection.execute(
        insert_unless_there(connection, Message).values(**row, attempts=0, checks=0).returning(Message.seq)
    ).scalar_one_or_none()
    if seq is None:  # a parallel request was quicker
        found = _find(connection, row)
        assert found is not None
        return found
    stored = event(
        message_seq=seq,
        channel_id=row["channel_id"],
        at=row["created_at"],
        source=source,
        before=None,
        after=row["state"],
        reason=row.get("error_code", ""),
    )
    record(connection, [stored])
    return Enqueued(row["id"], row["channel_id"], True, row["state"])


def _find(connection: Connection, row: dict[str, Any]) -> Enqueued | None:
    same = [Message.id == row["id"]]
    if row.get("idempotency_key"):
        same.append(Message.idempotency_key == row["idempotency_key"])
    known = connection.execute(
        select(Message.id, Message.channel_id, Message.fingerprint, Message.state).where(or_(*same)).limit(2)
    ).all()
    if not known:
        return None
    found = known[0]
    if len(known) > 1 or found.fingerprint != row["fingerprint"]:
        raise Conflict(
            f"Message {found.id} was enqueued before under the same id or idempotency key, with another recipient, "
            "content or option. Use a new key for a new message.",
        )
    return Enqueued(found.id, found.channel_id, False, found.state)


def _kept(value: object) -> str:
    try:
        return _storable(str(value))[:LONGEST_KEPT_RECIPIENT]
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists in lists
        return f"({type(value).__name__})"


def _storable(text: str) -> str:
    """Cut to what one column may hold and free of what no database takes (NUL, lone surrogates)."""
    return text[:4096].replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
