"""The tables: channels, messages, attempts, events. Columns and indexes only; outbox and channels hold the SQL."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worker.domain.channel_state import ChannelState
from worker.domain.message_status import MessageState


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC on every database; SQLite has no zones, so it is stored there without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _codes(enumeration: type[MessageState] | type[ChannelState]) -> list[str]:
    return [member.value for member in enumeration]


MessageStateColumn = Enum(
    MessageState, native_enum=False, length=16, values_callable=_codes, name="message_state", validate_strings=True
)
ChannelStateColumn = Enum(
    ChannelState, native_enum=False, length=16, values_callable=_codes, name="channel_state", validate_strings=True
)
#: SQLite counts up by itself only on INTEGER PRIMARY KEY.
Serial = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON}  # noqa: RUF012 - SQLAlchemy reads it


class Channel(Base):
    """One WhatsApp number behind one WaSender session key."""

    __tablename__ = "channels"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    #: Fernet token. NULL: the key stands in the environment (the default channel).
    api_key_encrypted: Mapped[str | None] = mapped_column(Text)
    webhook_secret_encrypted: Mapped[str | None] = mapped_column(Text)
    #: WaSender's own number of the session; needed for calls with a personal access token.
    gateway_session_id: Mapped[int | None] = mapped_column(BigInteger)
    pace_messages: Mapped[int] = mapped_column(Integer)
    pace_seconds: Mapped[float]
    created_at: Mapped[datetime]

    state: Mapped[ChannelState] = mapped_column(ChannelStateColumn)
    #: WaSender's word or a cause code; empty while there is nothing to say.
    reason: Mapped[str] = mapped_column(String(64))
    since: Mapped[datetime]
    #: When WaSender last answered "are you connected?".
    checked_at: Mapped[datetime | None]
    #: Not to be asked again before this; also keeps two beats from asking at once.
    check_due_at: Mapped[datetime]

    #: No POST may begin before this.
    next_slot_at: Mapped[datetime]
    #: Troubled attempts in a row; 0 when the last one was answered well.
    failures: Mapped[int] = mapped_column(Integer)

    #: The drain run that may send on this channel, until when, and on which machine it runs.
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_expires_at: Mapped[datetime | None]
    lease_holder: Mapped[str | None] = mapped_column(String(128))


class Message(Base):
    """One outbound WhatsApp message for one recipient."""

    __tablename__ = "messages"

    #: The order of arrival. Never shown; `id` is what the CRM knows.
    seq: Mapped[int] = mapped_column(Serial, primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, unique=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    state: Mapped[MessageState] = mapped_column(MessageStateColumn)
    #: 0 transactional, 1 bulk.
    priority: Mapped[int] = mapped_column(SmallInteger)
    #: As the CRM wrote it, cut to 200 characters.
    to: Mapped[str] = mapped_column(String(200))
    #: E.164 or a group's or feed's JID; NULL when `to` could not be understood.
    recipient: Mapped[str | None] = mapped_column(String(128))
    #: The identity WhatsApp resolved the recipient to, once it has said so.
    whatsapp_jid: Mapped[str | None] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    content: Mapped[dict[str, Any]]
    due_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    on_doubt: Mapped[str] = mapped_column(String(8))

    crm_ref: Mapped[str | None] = mapped_column(String(200))
    meta: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    fingerprint: Mapped[str] = mapped_column(String(64))

    attempts: Mapped[int] = mapped_column(Integer)
    #: The lease under which it was claimed last; a writer without that lease does not touch a `sending` message.
    lease_token: Mapped[str | None] = mapped_column(String(32))
    claimed_at: Mapped[datetime | None]
    gateway_msg_id: Mapped[int | None] = mapped_column(BigInteger)
    whatsapp_key_id: Mapped[str | None] = mapped_column(String(128))
    #: When message info is asked next; NULL when there is nothing left to learn.
    next_check_at: Mapped[datetime | None]
    checks: Mapped[int] = mapped_column(Integer)

    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(String(500))

    created_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]

    __table_args__ = (
        # The next message of a channel: one index probe per channel and priority.
        Index(
            "ix_messages_queued",
            "channel_id",
            "priority",
            "due_at",
            "seq",
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        # Never two to one recipient at a time; also finds what a lost worker left behind.
        Index(
            "ix_messages_sending",
            "channel_id",
            "recipient",
            postgresql_where=text("state = 'sending'"),
            sqlite_where=text("state = 'sending'"),
        ),
        Index(
            "ix_messages_unresolved",
            "channel_id",
            "state",
            postgresql_where=text("state IN ('accepted', 'in_doubt')"),
            sqlite_where=text("state IN ('accepted', 'in_doubt')"),
        ),
        Index(
            "ix_messages_expiring",
            "expires_at",
            postgresql_where=text("state = 'queued' AND expires_at IS NOT NULL"),
            sqlite_where=text("state = 'queued' AND expires_at IS NOT NULL"),
        ),
        Index(
            "ix_messages_to_check",
            "next_check_at",
            postgresql_where=text("next_check_at IS NOT NULL"),
            sqlite_where=text("next_check_at IS NOT NULL"),
        ),
        Index("ix_messages_gateway_msg_id", "gateway_msg_id"),
        Index("ix_messages_whatsapp_key_id", "whatsapp_key_id"),
        Index("ix_messages_crm_ref", "crm_ref"),
        Index("ix_messages_recipient", "recipient", "seq"),
    )


class Attempt(Base):
    """One POST to WaSender for a message, with its outcome."""

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    message_seq: Mapped[int] = mapped_column(ForeignKey("messages.seq"))
    number: Mapped[int] = mapped_column(Integer)
    #: NULL when the request was never begun, or the worker died before it could say.
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str] = mapped_column(String(32))
    http_status: Mapped[int | None] = mapped_column(Integer)
    gateway_msg_id: Mapped[int | None] = mapped_column(BigInteger)
    #: WaSender's own words, bounded, without credentials.
    detail: Mapped[str] = mapped_column(String(300))
    worker: Mapped[str] = mapped_column(String(128))

    __table_args__ = (UniqueConstraint("message_seq", "number"),)


class Event(Base):
    """One transition of a message (`message_seq` set) or of a channel, with its evidence."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    message_seq: Mapped[int | None] = mapped_column(ForeignKey("messages.seq"), index=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    at: Mapped[datetime]
    source: Mapped[str] = mapped_column(String(16))
    before: Mapped[str | None] = mapped_column(String(16))
    after: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(64))
    #: What proves it: the gateway's ids and codes. No texts, no numbers, no credentials.
    evidence: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index(
            "ix_events_of_channel",
            "channel_id",
            "id",
            postgresql_where=text("message_seq IS NULL"),
            sqlite_where=text("message_seq IS NULL"),
        ),
    )
