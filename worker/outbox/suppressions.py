"""Who wants no messages: all SQL on `suppressions`, and what becomes of messages that wait for such a recipient.

New ones are refused when they are stored (`enqueue`), waiting ones fail here, those that come back to the queue are
looked at by whoever puts them back. What was just being stored meanwhile is found when its turn comes (`holding`).
What has been claimed goes out: it is on its way.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import ColumnElement, Connection, bindparam, exists, literal_column, or_, select, update

from worker.database import insert_unless_there
from worker.domain.errors import InvalidRequest
from worker.domain.message_status import MessageState
from worker.domain.opt_out import Wish
from worker.models import Channel, Message, Suppression
from worker.outbox.events import Source, event, record

CODE = "opted_out"
SENTENCE = (
    "The recipient has asked for no more messages. They get messages again when they ask for them (START), "
    "or when a person lifts it: truetick opt-outs remove NUMBER."
)
#: How many messages one transaction fails.
BATCH = 500
#: So many answers to wishes may wait among them: two a day, and they expire within a day.
_ANSWERS = 4

_SUPPRESSED = select(Suppression.recipient).where(
    Suppression.recipient.in_(bindparam("recipients", expanding=True)), Suppression.lifted_at.is_(None)
)
_WRITTEN_TO_AT = (
    select(Message.recipient)
    .where(
        Message.whatsapp_jid.in_(bindparam("jids", expanding=True)),
        Message.whatsapp_jid.is_not(None),
        Message.recipient.is_not(None),
    )
    .distinct()
)
_QUEUED_TO = select(Message.channel_id, Message.seq, Message.id, Message.created_at, Message.recipient).where(
    Message.recipient == bindparam("recipient"), Message.state == literal_column("'queued'")
)
_WANTED_NO_MORE = (
    select(Message.channel_id, Message.seq, Message.id, Message.created_at, Message.recipient)
    .join(Suppression, Suppression.recipient == Message.recipient)
    .where(
        Message.seq.in_(bindparam("seqs", expanding=True)),
        Message.state == literal_column("'queued'"),
        Suppression.lifted_at.is_(None),
    )
    .order_by(Message.seq)
)


@dataclass(frozen=True, kw_only=True)
class OptOut:
    """Somebody who does not want messages, or did not."""

    recipient: str = field(repr=False)
    since: datetime
    source: str
    word: str | None
    channel: str | None
    lifted_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        return {
            "recipient": self.recipient,
            "since": _iso(self.since),
            "source": self.source,
            "word": self.word,
            "channel": self.channel,
            "lifted_at": _iso(self.lifted_at),
        }


def refusal() -> InvalidRequest:
    """What a request to send to such a recipient is answered with."""
    return InvalidRequest(SENTENCE, code=CODE)


def is_unwanted(message: type[Message]) -> ColumnElement[bool]:
    """Does the recipient of this message want none? One probe."""
    return exists(
        select(literal_column("1"))
        .select_from(Suppression)
        .where(Suppression.recipient == message.recipient, Suppression.lifted_at.is_(None))
        .correlate(message)
    )


def written_to_at(connection: Connection, jids: Collection[str]) -> set[str]:
    """The numbers whose messages went to one of these addresses, by WhatsApp's own word."""
    found = connection.execute(_WRITTEN_TO_AT, {"jids": list(jids)}).scalars() if jids else ()
    return {recipient for recipient in found if recipient is not None}


def suppressed(connection: Connection, recipients: Collection[str]) -> set[str]:
    """Those of these who want no messages."""
    return set(connection.execute(_SUPPRESSED, {"recipients": list(recipients)}).scalars()) if recipients else set()


def suppress(
    connection: Connection,
    recipient: str,
    *,
    at: datetime,
    source: Source,
    word: str | None = None,
    channel_id: int | None = None,
) -> bool:
    """Note that somebody wants no more messages. True when that wish holds now, whether it is new or came again.

    False when messages were wished for after `at`, so that an old wish which comes late changes nothing. A repeated
    one changes nothing either: the first one stands, see `since`.
    """
    values = {"since": at, "source": source.value, "word": word, "channel_id": channel_id, "lifted_at": None}
    connection.execute(insert_unless_there(connection, Suppression).values(recipient=recipient, **values))
    connection.execute(
        update(Suppression).where(Suppression.recipient == recipient, Suppression.lifted_at < at).values(**values)
    )
    return bool(suppressed(connection, [recipient]))


def lift(connection: Connection, recipients: Collection[str], *, at: datetime) -> int:
    """Note that these want messages again. Returns for how many that is news; a wish for none after `at` stays."""
    lifted = connection.execute(
        update(Suppression)
        .where(Suppression.recipient.in_(recipients), Suppression.lifted_at.is_(None), Suppression.since <= at)
        .values(lifted_at=at)
    )
    return lifted.rowcount


def since(connection: Connection, recipient: str) -> datetime | None:
    """From when on somebody has wanted no messages; None for one who does."""
    query = select(Suppression.since).where(Suppression.recipient == recipient, Suppression.lifted_at.is_(None))
    return connection.execute(query).scalar_one_or_none()


def channels_waiting(connection: Connection, recipient: str) -> list[int]:
    """The channels on which a message waits for somebody, to be locked before `fail_queued`."""
    rows = connection.execute(_QUEUED_TO, {"recipient": recipient})
    return sorted({row.channel_id for row in rows if not is_answer(row)})


def fail_queued(
    connection: Connection, recipient: str, channel_ids: Collection[int], *, now: datetime, source: Source
) -> int:
    """Fail what waits on these channels for somebody who wants no messages. Returns how many; fewer than `BATCH` when
    none is left on them. Their rows have to be locked, so that no run claims one of the messages meanwhile.
    """
    query = _QUEUED_TO.where(Message.channel_id.in_(channel_ids)).order_by(Message.seq).limit(BATCH + _ANSWERS)
    rows = connection.execute(query.with_for_update(key_share=True), {"recipient": recipient}).all()
    return _fail(connection, [row for row in rows if not is_answer(row)][:BATCH], now, source)


def fail_returned(connection: Connection, seqs: Collection[int], *, now: datetime) -> int:
    """Fail those of the messages just put back into the queue whose recipient has come to want none."""
    if not seqs:
        return 0
    rows = connection.execute(_WANTED_NO_MORE, {"seqs": list(seqs)}).all()
    return _fail(connection, [row for row in rows if not is_answer(row)], now, Source.WORKER)


def fail_held(connection: Connection, rows: Sequence[Any], *, now: datetime) -> set[int]:
    """Fail those of these queued messages (locked rows with seq, id, channel_id, recipient and created_at) that their
    recipients do not want. Returns which (seq)."""
    unwanted = suppressed(connection, {row.recipient for row in rows})
    failed = [row for row in rows if row.recipient in unwanted and not is_answer(row)]
    _fail(connection, failed, now, Source.WORKER)
    return {row.seq for row in failed}


def _fail(connection: Connection, rows: Sequence[Any], now: datetime, source: Source) -> int:
    if not rows:
        return 0
    failed = {
        "state": MessageState.FAILED,
        "error_code": CODE,
        "error_message": SENTENCE,
        "attention": None,
        "next_check_at": None,
    }
    connection.execute(update(Message).where(Message.seq.in_([row.seq for row in rows])).values(**failed))
    record(
        connection,
        [
            event(
                message_seq=row.seq,
                channel_id=row.channel_id,
                at=now,
                source=source,
                before=MessageState.QUEUED,
                after=MessageState.FAILED,
                reason=CODE,
            )
            for row in rows
        ],
    )
    return len(rows)


def answer_id(wish: Wish, recipient: str, at: datetime) -> UUID:
    """The id of the message that answers somebody's wish: the same all day (UTC), so that there is one a day."""
    return uuid5(NAMESPACE_URL, f"truetick:{wish.value}:{recipient}:{at.astimezone(UTC):%Y-%m-%d}")


def is_answer(row: Any) -> bool:
    """Is this message (id, recipient, created_at) the answer to a wish? It goes out although no others do."""
    return any(row.id == answer_id(wish, row.recipient, row.created_at) for wish in Wish)


def list_all(connection: Connection, *, lifted: bool, limit: int) -> list[OptOut]:
    """The latest first; those that were lifted only with `lifted`."""
    query = (
        select(Suppression.__table__, Channel.name.label("channel"))
        .join_from(Suppression, Channel, Channel.id == Suppression.channel_id, isouter=True)
        .where(or_(Suppression.lifted_at.is_(None), literal_column("1") == int(lifted)))
        .order_by(Suppression.since.desc(), Suppression.id.desc())
        .limit(limit)
    )
    return [
        OptOut(
            recipient=row.recipient,
            since=row.since,
            source=row.source,
            word=row.word,
            channel=row.channel,
            lifted_at=row.lifted_at,
        )
        for row in connection.execute(query)
    ]


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
