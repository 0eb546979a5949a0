"""The ledger as an audit reads it: what is known of messages, by their ids, references or recipients. Read only."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from worker.domain.message_status import PUBLIC_STATUS, MessageState
from worker.domain.text_digest import text_digest
from worker.models import Message

_COLUMNS = (
    *(Message.seq, Message.id, Message.state, Message.crm_ref, Message.recipient, Message.content),
    *(Message.error_code, Message.created_at),
    func.coalesce(Message.sent_at, Message.accepted_at, Message.created_at).label("gone_at"),
)
_BY_IDS = select(*_COLUMNS).where(Message.id.in_(bindparam("ids", expanding=True)))
_BY_REFS = select(*_COLUMNS).where(Message.crm_ref.in_(bindparam("refs", expanding=True)))
_BY_RECIPIENTS = select(*_COLUMNS).where(Message.recipient.in_(bindparam("recipients", expanding=True)))


class TooMany(Exception):
    """More messages fit than are looked at. Ask for fewer at once."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One message. Of its text there is a digest only."""

    seq: int
    id: UUID
    state: MessageState
    crm_ref: str | None
    recipient: str | None
    text_digest: str | None
    error_code: str | None
    created_at: datetime
    #: When WhatsApp or WaSender took it; until then, when it was made.
    gone_at: datetime

    @property
    def status(self) -> str:
        """What the CRM sees."""
        return PUBLIC_STATUS[self.state]


def by_ids(connection: Connection, ids: Collection[UUID]) -> list[Entry]:
    """At most one for each id."""
    return _entries(connection, _BY_IDS, {"ids": list(ids)}, most=len(ids))


def by_refs(connection: Connection, refs: Collection[str], *, most: int) -> list[Entry]:
    """Raises TooMany."""
    return _entries(connection, _BY_REFS, {"refs": list(refs)}, most=most)


def by_recipients(
    connection: Connection,
    recipients: Collection[str],
    *,
    since: datetime | None,
    until: datetime | None,
    most: int,
) -> list[Entry]:
    """Messages that were under way between the two times. Raises TooMany."""
    query: Select[Any] = _BY_RECIPIENTS
    if since is not None:
        query = query.where(func.coalesce(Message.sent_at, Message.accepted_at, Message.created_at) >= since)
    if until is not None:
        query = query.where(Message.created_at <= until)
    return _entries(connection, query, {"recipients": list(recipients)}, most=most)


def _entries(connection: Connection, query: Select[Any], given: dict[str, Any], *, most: int) -> list[Entry]:
    if not all(given.values()):
        return []
    rows: Sequence[Row[Any]] = connection.execute(query.order_by(Message.seq).limit(most + 1), given).all()
    if len(rows) > most:
        raise TooMany
    return [_entry(row) for row in rows]


def _entry(row: Row[Any]) -> Entry:
    text = row.content.get("text")
    return Entry(
        seq=row.seq,
        id=row.id,
        state=row.state,
        crm_ref=row.crm_ref,
        recipient=row.recipient,
        # Tables and databases end lines as they like.
        text_digest=text_digest(text.replace("\r\n", "\n")) if isinstance(text, str) and text.strip() else None,
        error_code=row.error_code,
        created_at=row.created_at,
        gone_at=row.gone_at,
    )
