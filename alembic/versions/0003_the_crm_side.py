"""the CRM's side: change feed, callbacks, access tokens, media, opt-outs, pools"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True)
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NO = sa.false()

#: Name, type, and what rows that exist already get (None: the column may be empty).
CHANNEL_COLUMNS = (
    ("pool", sa.String(length=64), None),
    ("first_contact_cap", sa.Integer(), None),
    ("first_contacts_on", sa.Date(), None),
    ("first_contacts_that_day", sa.Integer(), "0"),
    ("number_check_slot_at", TIME, None),
    ("number_checks_on", sa.Date(), None),
    ("number_checks_that_day", sa.Integer(), "0"),
)
MESSAGE_COLUMNS = (
    ("quiet_zone", sa.String(length=64), None),
    ("first_contact", sa.Boolean(), NO),
    ("check_number", sa.Boolean(), NO),
    ("failover", sa.Boolean(), NO),
    ("held_by", sa.String(length=16), None),
)
EVENT_COLUMNS = (
    ("status", sa.String(length=16), None),
    ("feed_no", sa.BigInteger(), None),
)
ADDED = {"channels": CHANNEL_COLUMNS, "messages": MESSAGE_COLUMNS, "events": EVENT_COLUMNS}

UNNUMBERED = sa.text("status IS NOT NULL AND feed_no IS NULL")
NUMBERED = sa.text("feed_no IS NOT NULL")
ACCEPTED = sa.text("accepted_at IS NOT NULL AND state <> 'queued'")
MAY_FAIL_OVER = sa.text("state = 'queued' AND failover")
FAILED = sa.text("after = 'failed' AND message_seq IS NOT NULL")
OPEN = sa.text("state <> 'delivered'")
WAITING = sa.text("state = 'waiting'")
DELIVERED = sa.text("state = 'delivered'")


def _index(name: str, table: str, columns: list[str], where: sa.TextClause, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, postgresql_where=where, sqlite_where=where)


def upgrade() -> None:
    for table, columns in ADDED.items():
        for name, kind, given in columns:
            op.add_column(table, sa.Column(name, kind, nullable=given is None, server_default=given))
    _index("ix_events_unnumbered", "events", ["id"], UNNUMBERED)
    _index("uq_events_feed_no", "events", ["feed_no"], NUMBERED, unique=True)
    _index("ix_messages_accepted", "messages", ["channel_id", "accepted_at"], ACCEPTED)
    _index("ix_messages_failover", "messages", ["channel_id", "priority", "due_at", "seq"], MAY_FAIL_OVER)
    _index("ix_events_failed", "events", ["channel_id", "at"], FAILED)
    _create_feed()
    _create_callbacks()
    _create_access_tokens()
    _create_media_and_numbers()


def downgrade() -> None:
    for table in ("suppressions", "known_numbers", "media", "access_tokens", "callbacks", "endpoints", "feed"):
        op.drop_table(table)
    op.drop_index("ix_events_failed", "events")
    op.drop_index("ix_messages_failover", "messages")
    op.drop_index("ix_messages_accepted", "messages")
    op.drop_index("uq_events_feed_no", "events")
    op.drop_index("ix_events_unnumbered", "events")
    for table, columns in ADDED.items():
        for name, _, _ in columns:
            op.drop_column(table, name)


def _create_feed() -> None:
    feed = op.create_table(
        "feed",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("last_no", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feed"),
    )
    op.bulk_insert(feed, [{"id": 1, "last_no": 0}])


def _create_callbacks() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=2048), nullable=True),
        sa.Column("secret_encrypted", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("after_no", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_try_at", TIME, nullable=False),
        sa.Column("last_success_at", TIME, nullable=True),
        sa.Column("problem", sa.String(length=300), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_endpoints"),
        sa.UniqueConstraint("name", name="uq_endpoints_name"),
    )
    op.create_table(
        "callbacks",
        sa.Column("id", KEY, nullable=False),
        sa.Column("endpoint_id", KEY, nullable=False),
        sa.Column("message_seq", KEY, nullable=False),
        sa.Column("feed_no", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("give_up_at", TIME, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(length=300), nullable=True),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_callbacks"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name="fk_callbacks_endpoint_id_endpoints"),
        sa.ForeignKeyConstraint(["message_seq"], ["messages.seq"], name="fk_callbacks_message_seq_messages"),
        sa.UniqueConstraint("endpoint_id", "feed_no", name="uq_callbacks_endpoint_id"),
    )
    _index("ix_callbacks_open", "callbacks", ["endpoint_id", "message_seq", "feed_no"], OPEN)
    _index("ix_callbacks_due", "callbacks", ["endpoint_id", "due_at"], WAITING)
    _index("ix_callbacks_delivered", "callbacks", ["delivered_at"], DELIVERED)


def _create_access_tokens() -> None:
    op.create_table(
        "access_tokens",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("hint", sa.String(length=16), nullable=False),
        sa.Column("scopes", sa.String(length=64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("last_used_at", TIME, nullable=True),
        sa.Column("former_digest", sa.String(length=64), nullable=True),
        sa.Column("former_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_access_tokens"),
        sa.UniqueConstraint("name", name="uq_access_tokens_name"),
        sa.UniqueConstraint("digest", name="uq_access_tokens_digest"),
        sa.UniqueConstraint("former_digest", name="uq_access_tokens_former_digest"),
    )


def _create_media_and_numbers() -> None:
    op.create_table(
        "media",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("mime_type", sa.String(length=100), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("public_url", sa.String(length=2048), nullable=True),
        sa.Column("public_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_media"),
        sa.UniqueConstraint("sha256", name="uq_media_sha256"),
    )
    op.create_table(
        "known_numbers",
        sa.Column("recipient", sa.String(length=128), nullable=False),
        sa.Column("on_whatsapp", sa.Boolean(), nullable=False),
        sa.Column("checked_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("recipient", name="pk_known_numbers"),
    )
    op.create_table(
        "suppressions",
        sa.Column("id", KEY, nullable=False),
        sa.Column("recipient", sa.String(length=128), nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("word", sa.String(length=40), nullable=True),
        sa.Column("channel_id", KEY, nullable=True),
        sa.Column("lifted_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_suppressions"),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_suppressions_channel_id_channels"),
        sa.UniqueConstraint("recipient", name="uq_suppressions_recipient"),
    )
