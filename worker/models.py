"""The tables: columns and indexes only. The SQL stands in the packages that own them."""

from datetime import UTC, date, datetime
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
    LargeBinary,
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

#: Where migrations note how far they have come. Not Alembic's own name for it: a CRM that shares the database may
#: have migrations of its own.
VERSION_TABLE = "truetick_version"


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

    #: No POST may begin before this: the pace, a daily cap and WaSender's own wishes want it so.
    next_slot_at: Mapped[datetime]
    #: Nor before this, after trouble at WaSender. Forgotten when the channel comes up again: that trouble is over.
    rest_until: Mapped[datetime | None]
    #: Troubled attempts in a row; 0 when the last one was answered well.
    failures: Mapped[int] = mapped_column(Integer)
    #: Since when WaSender refuses every send as "not connected" while its status says connected, or by words about
    #: the plan alone.
    refused_since: Mapped[datetime | None]
    #: How much slower than its pace it sends at present; 1 is the pace itself.
    slowdown: Mapped[float] = mapped_column(default=1.0)
    #: Refusals as "too many" in a row that did not say how long to wait, without a message taken in between.
    unhinted_refusals: Mapped[int] = mapped_column(SmallInteger, default=0)
    #: POSTs allowed in one day (UTC); NULL: as many as the pace allows. And those of the day they were counted on.
    daily_cap: Mapped[int | None] = mapped_column(Integer)
    posts_on: Mapped[date | None]
    posts_that_day: Mapped[int] = mapped_column(Integer, default=0)

    #: The unacknowledged window: how many messages may be without a tick at present.
    unacked_window: Mapped[int] = mapped_column(Integer, default=1)
    last_tick_at: Mapped[datetime | None]
    #: Accepted before this and not ticked: later ones have been ticked since, so it no longer fills the window.
    overtaken_before: Mapped[datetime | None]
    #: Smoothed time from acceptance to the first tick, in seconds; 0 before the first one.
    tick_latency_s: Mapped[float] = mapped_column(default=0.0)
    #: Accepted before this and not ticked: an outage may have swallowed it.
    suspect_before: Mapped[datetime | None]
    #: From when on the next single message may be tried while it is mute, and how many were. Kept, whatever WaSender
    #: says, until a tick has come: NULL means that none is awaited.
    probe_at: Mapped[datetime | None]
    probes: Mapped[int] = mapped_column(Integer, default=0)

    #: How transitions of its messages were learnt, and when a webhook came last.
    ticks_by_webhook: Mapped[int] = mapped_column(Integer, default=0)
    ticks_by_asking: Mapped[int] = mapped_column(Integer, default=0)
    last_webhook_at: Mapped[datetime | None]

    #: Channels of one pool may stand in for each other; NULL: it stands alone.
    pool: Mapped[str | None] = mapped_column(String(64))
    #: Messages to people whom it has never written to: allowed in one day (UTC; NULL: any number), and those of the
    #: day they were counted on.
    first_contact_cap: Mapped[int | None] = mapped_column(Integer)
    first_contacts_on: Mapped[date | None]
    first_contacts_that_day: Mapped[int] = mapped_column(Integer, default=0)
    #: Questions whether a number is on WhatsApp: none before this, and those of the day they were counted on.
    number_check_slot_at: Mapped[datetime | None]
    number_checks_on: Mapped[date | None]
    number_checks_that_day: Mapped[int] = mapped_column(Integer, default=0)

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

    #: The zone whose quiet hours it heeds, or the two outermost ones that its number may be in; NULL: it heeds none.
    quiet_zone: Mapped[str | None] = mapped_column(String(64))
    #: The first message of this channel to this recipient: it counts for the day's budget of such.
    first_contact: Mapped[bool] = mapped_column(default=False)
    #: Ask WhatsApp whether the number exists before it is sent.
    check_number: Mapped[bool] = mapped_column(default=False)
    #: Another channel of its pool may send it while its own cannot.
    failover: Mapped[bool] = mapped_column(default=False)
    #: Why `due_at` was moved on: quiet_hours or first_contacts; NULL: it was not.
    held_by: Mapped[str | None] = mapped_column(String(16))

    crm_ref: Mapped[str | None] = mapped_column(String(200))
    meta: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    fingerprint: Mapped[str] = mapped_column(String(64))

    #: POSTs that count: a refusal because of the channel (down, throttled) or of the way to WaSender does not.
    attempts: Mapped[int] = mapped_column(Integer)
    #: How many of them ended without an answer, and how often it was sent again on its own policy.
    doubts: Mapped[int] = mapped_column(SmallInteger, default=0)
    resends: Mapped[int] = mapped_column(SmallInteger, default=0)
    #: Refusals that do not count as attempts, with others that were taken and ticked in between; when the latest of
    #: those came, and until when it steps aside since the latest of all. NULL: it was not refused so.
    refusals: Mapped[int] = mapped_column(SmallInteger, default=0)
    refused_at: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    #: How many more of its attempts than one WhatsApp has ticked.
    duplicates: Mapped[int] = mapped_column(SmallInteger, default=0)
    #: Why a person should look at it; NULL while Truetick can still find out by itself, or all is well.
    attention: Mapped[str | None] = mapped_column(String(32))
    #: The lease under which it was claimed last; a writer without that lease does not touch a `sending` message.
    lease_token: Mapped[str | None] = mapped_column(String(32))
    claimed_at: Mapped[datetime | None]
    gateway_msg_id: Mapped[int | None] = mapped_column(BigInteger)
    whatsapp_key_id: Mapped[str | None] = mapped_column(String(128))
    #: When message info (of one in doubt: the message logs) is asked next; NULL when there is nothing left to learn.
    next_check_at: Mapped[datetime | None]
    checks: Mapped[int] = mapped_column(Integer)
    #: When WaSender last gave a real answer about it.
    asked_at: Mapped[datetime | None]

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
        # What may be at WaSender without a tick: the window, and recipients who have to wait for the outcome.
        Index(
            "ix_messages_open",
            "channel_id",
            "recipient",
            postgresql_where=text("state IN ('sending', 'accepted', 'in_doubt') AND attention IS NULL"),
            sqlite_where=text("state IN ('sending', 'accepted', 'in_doubt') AND attention IS NULL"),
        ),
        # What was refused and waits for another try; empty on most days.
        Index(
            "ix_messages_refused",
            "channel_id",
            "recipient",
            postgresql_where=text("refused_at IS NOT NULL"),
            sqlite_where=text("refused_at IS NOT NULL"),
        ),
        # What a person has to look at.
        Index(
            "ix_messages_attention",
            "channel_id",
            "state",
            postgresql_where=text("attention IS NOT NULL"),
            sqlite_where=text("attention IS NOT NULL"),
        ),
        Index(
            "ix_messages_expiring",
            "expires_at",
            postgresql_where=text("state = 'queued' AND expires_at IS NOT NULL"),
            sqlite_where=text("state = 'queued' AND expires_at IS NOT NULL"),
        ),
        # What to ask about next on a channel, by state: a first tick is more urgent than a second one.
        Index(
            "ix_messages_to_check",
            "channel_id",
            "state",
            "next_check_at",
            postgresql_where=text("next_check_at IS NOT NULL"),
            sqlite_where=text("next_check_at IS NOT NULL"),
        ),
        # Which doubts are to be judged next.
        Index(
            "ix_messages_doubts",
            "next_check_at",
            postgresql_where=text("state = 'in_doubt' AND next_check_at IS NOT NULL"),
            sqlite_where=text("state = 'in_doubt' AND next_check_at IS NOT NULL"),
        ),
        # What became of a channel's latest messages: delivery rates. The state keeps SQLite from preferring it to
        # smaller ones where messages without a tick are looked for.
        Index(
            "ix_messages_accepted",
            "channel_id",
            "accepted_at",
            postgresql_where=text("accepted_at IS NOT NULL AND state <> 'queued'"),
            sqlite_where=text("accepted_at IS NOT NULL AND state <> 'queued'"),
        ),
        # What another channel of the pool may take over.
        Index(
            "ix_messages_failover",
            "channel_id",
            "priority",
            "due_at",
            "seq",
            postgresql_where=text("state = 'queued' AND failover"),
            sqlite_where=text("state = 'queued' AND failover"),
        ),
        # Whom WhatsApp knows under this address: it spells some numbers otherwise than they are dialled.
        Index(
            "ix_messages_whatsapp_jid",
            "whatsapp_jid",
            postgresql_where=text("whatsapp_jid IS NOT NULL"),
            sqlite_where=text("whatsapp_jid IS NOT NULL"),
        ),
        # A channel's messages, the newest first. Costs one entry for each version of a row; without it, the list of a
        # channel that has long been idle walks all that came after its last message. The sign keeps planners from
        # taking it for what the partial indexes answer.
        Index("ix_messages_of_channel", text("(-channel_id)"), "seq"),
        # What did not go out, the newest first. Costs one entry for each such message, and none for all others.
        Index(
            "ix_messages_ended",
            "state",
            "seq",
            postgresql_where=text("state IN ('failed', 'expired', 'cancelled')"),
            sqlite_where=text("state IN ('failed', 'expired', 'cancelled')"),
        ),
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
    gateway_msg_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    whatsapp_key_id: Mapped[str | None] = mapped_column(String(128), index=True)
    #: WhatsApp's highest acknowledgement of this attempt, and when the first tick of it was learnt.
    ack: Mapped[int | None] = mapped_column(SmallInteger)
    ticked_at: Mapped[datetime | None]
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
    #: What the CRM sees of the message from then on; NULL where that did not change.
    status: Mapped[str | None] = mapped_column(String(16))
    #: Its place in the change feed, given after its commit, so that no place appears behind one that was read.
    feed_no: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        # Changes that have no place in the feed yet.
        Index(
            "ix_events_unnumbered",
            "id",
            postgresql_where=text("status IS NOT NULL AND feed_no IS NULL"),
            sqlite_where=text("status IS NOT NULL AND feed_no IS NULL"),
        ),
        Index(
            "uq_events_feed_no",
            "feed_no",
            unique=True,
            postgresql_where=text("feed_no IS NOT NULL"),
            sqlite_where=text("feed_no IS NOT NULL"),
        ),
        # When messages failed lately, of each channel.
        Index(
            "ix_events_failed",
            "channel_id",
            "at",
            postgresql_where=text("after = 'failed' AND message_seq IS NOT NULL"),
            sqlite_where=text("after = 'failed' AND message_seq IS NOT NULL"),
        ),
        Index(
            "ix_events_of_channel",
            "channel_id",
            "id",
            postgresql_where=text("message_seq IS NULL"),
            sqlite_where=text("message_seq IS NULL"),
        ),
    )


class Outage(Base):
    """A time in which a channel was down or mute: how it was noticed, and how it ended."""

    __tablename__ = "outages"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    #: The state it was first noticed as, and WaSender's word then.
    state: Mapped[ChannelState] = mapped_column(ChannelStateColumn)
    reason: Mapped[str] = mapped_column(String(64))
    #: The best estimate of its beginning, and what it rests on: last_tick, last_check or session_logs.
    began_at: Mapped[datetime]
    began_by: Mapped[str] = mapped_column(String(16))
    noticed_at: Mapped[datetime]
    noticed_by: Mapped[str] = mapped_column(String(16))
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(String(16))
    #: When people are to be told (once they were: told that it is over; NULL: nothing is left to tell), and when they
    #: were.
    alarm_due_at: Mapped[datetime | None]
    alarmed_at: Mapped[datetime | None]
    #: The restart that was asked of WaSender, and what came of it, or why it could not be asked yet.
    restart_due_at: Mapped[datetime | None]
    restarted_at: Mapped[datetime | None]
    restart_result: Mapped[str | None] = mapped_column(String(64))
    #: When the session logs are to be asked when it began; NULL: they were, or cannot know.
    logs_due_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_outages_of_channel", "channel_id", "id"),
        Index(
            "uq_outages_open",
            "channel_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
            sqlite_where=text("ended_at IS NULL"),
        ),
        # What people have to be told of, however many outages there were.
        Index(
            "ix_outages_to_tell",
            "alarm_due_at",
            postgresql_where=text("alarm_due_at IS NOT NULL"),
            sqlite_where=text("alarm_due_at IS NOT NULL"),
        ),
        Index(
            "ix_outages_to_date",
            "logs_due_at",
            postgresql_where=text("logs_due_at IS NOT NULL"),
            sqlite_where=text("logs_due_at IS NOT NULL"),
        ),
    )


class OutageMessage(Base):
    """A message that was at risk in an outage: at WaSender, or on its way there, without a tick."""

    __tablename__ = "outage_messages"

    outage_id: Mapped[int] = mapped_column(ForeignKey("outages.id"), primary_key=True)
    message_seq: Mapped[int] = mapped_column(ForeignKey("messages.seq"), primary_key=True)
    #: Its state when it was found to be at risk.
    state_then: Mapped[MessageState] = mapped_column(MessageStateColumn)


class WebhookFact(Base):
    """One thing a webhook said, stored before the webhook is answered and deleted once it is used."""

    __tablename__ = "webhook_facts"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    received_at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(16))
    #: WhatsApp's id of the message it is about; what is not known yet waits under it.
    whatsapp_key_id: Mapped[str | None] = mapped_column(String(128), index=True)
    #: What it said, in our words: no raw body, no credential, no text.
    said: Mapped[dict[str, Any]]
    #: When it is looked at next, and how often it was.
    next_try_at: Mapped[datetime] = mapped_column(index=True)
    tries: Mapped[int] = mapped_column(Integer, default=0)


class Feed(Base):
    """The end of the change feed, in one row: whoever numbers changes holds it."""

    __tablename__ = "feed"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    last_no: Mapped[int] = mapped_column(BigInteger)


class Endpoint(Base):
    """Where a CRM is told of status changes: an http(s) address, or a Celery task of its own."""

    __tablename__ = "endpoints"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    #: `https://…`, or `celery:TASK@QUEUE`. NULL: the address stands in the environment (the default endpoint).
    address: Mapped[str | None] = mapped_column(String(2048))
    #: Fernet token of the signing secret. NULL: it stands in the environment, or there is none.
    secret_encrypted: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    #: Changes up to this place in the feed have become callbacks.
    after_no: Mapped[int] = mapped_column(BigInteger)
    #: Troubled deliveries in a row, and when the next one may be tried.
    failures: Mapped[int] = mapped_column(Integer, default=0)
    next_try_at: Mapped[datetime]
    last_success_at: Mapped[datetime | None]
    #: What went wrong last; NULL while all is well.
    problem: Mapped[str | None] = mapped_column(String(300))
    #: The run that may deliver to it, and until when.
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_expires_at: Mapped[datetime | None]


class Callback(Base):
    """One status change to be told to one endpoint."""

    __tablename__ = "callbacks"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("endpoints.id"))
    message_seq: Mapped[int] = mapped_column(ForeignKey("messages.seq"))
    #: The change's place in the feed.
    feed_no: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    #: When the change happened.
    at: Mapped[datetime]
    #: waiting, delivered or parked.
    state: Mapped[str] = mapped_column(String(16))
    due_at: Mapped[datetime]
    #: Parked when it could not be delivered until then.
    give_up_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(Integer, default=0)
    problem: Mapped[str | None] = mapped_column(String(300))
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("endpoint_id", "feed_no"),
        # The oldest undelivered one of a message goes first, and what waits behind it waits.
        Index(
            "ix_callbacks_open",
            "endpoint_id",
            "message_seq",
            "feed_no",
            postgresql_where=text("state <> 'delivered'"),
            sqlite_where=text("state <> 'delivered'"),
        ),
        Index(
            "ix_callbacks_due",
            "endpoint_id",
            "due_at",
            postgresql_where=text("state = 'waiting'"),
            sqlite_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_callbacks_delivered",
            "delivered_at",
            postgresql_where=text("state = 'delivered'"),
            sqlite_where=text("state = 'delivered'"),
        ),
    )


class AccessToken(Base):
    """A key of the HTTP API that a person made: its digest and what it opens. The key itself is shown once."""

    __tablename__ = "access_tokens"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    #: SHA-256 of the key, in hex. The key is random, so nothing slower is needed.
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    #: The key's first characters, for people to tell keys apart.
    hint: Mapped[str] = mapped_column(String(16))
    #: Of send, read, operate: what it opens, separated by spaces.
    scopes: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    #: After a rotation the former key opens until then.
    former_digest: Mapped[str | None] = mapped_column(String(64), unique=True)
    former_until: Mapped[datetime | None]


class Media(Base):
    """A file that a CRM handed over, to be uploaded to WaSender when a message with it is sent."""

    __tablename__ = "media"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    mime_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(Integer)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    #: When it was handed over last.
    created_at: Mapped[datetime]
    #: Where WaSender has it, and until when.
    public_url: Mapped[str | None] = mapped_column(String(2048))
    public_until: Mapped[datetime | None]


class KnownNumber(Base):
    """What WhatsApp answered when it was asked whether a number exists."""

    __tablename__ = "known_numbers"

    recipient: Mapped[str] = mapped_column(String(128), primary_key=True)
    on_whatsapp: Mapped[bool]
    checked_at: Mapped[datetime]


class Suppression(Base):
    """Somebody who does not want messages. Kept after it is lifted, as the proof of what was asked for."""

    __tablename__ = "suppressions"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    #: E.164, or the LID where WhatsApp tells no number.
    recipient: Mapped[str] = mapped_column(String(128), unique=True)
    since: Mapped[datetime]
    #: webhook, api or operator.
    source: Mapped[str] = mapped_column(String(16))
    #: The word that was written, if it was one of those configured.
    word: Mapped[str | None] = mapped_column(String(40))
    channel_id: Mapped[int | None] = mapped_column(ForeignKey("channels.id"))
    lifted_at: Mapped[datetime | None]
