"""the first tables"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("api_key_encrypted", sa.Text(), nullable=True),
        sa.Column("webhook_secret_encrypted", sa.Text(), nullable=True),
        sa.Column("gateway_session_id", sa.BigInteger(), nullable=True),
        sa.Column("pace_messages", sa.Integer(), nullable=False),
        sa.Column("pace_seconds", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "unknown",
                "up",
                "down",
                "mute",
                "blocked",
                "paused",
                name="channel_state",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("check_due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_slot_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_holder", sa.String(length=128), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("name", name=op.f("uq_channels_name")),
    )
    op.create_table(
        "messages",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "sending",
                "accepted",
                "in_doubt",
                "sent",
                "delivered",
                "read",
                "failed",
                "expired",
                "cancelled",
                name="message_state",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("to", sa.String(length=200), nullable=False),
        sa.Column("recipient", sa.String(length=128), nullable=True),
        sa.Column("whatsapp_jid", sa.String(length=128), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("on_doubt", sa.String(length=8), nullable=False),
        sa.Column("crm_ref", sa.String(length=200), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gateway_msg_id", sa.BigInteger(), nullable=True),
        sa.Column("whatsapp_key_id", sa.String(length=128), nullable=True),
        sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checks", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.String(length=500), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_messages_channel_id_channels")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_messages")),
        sa.UniqueConstraint("id", name=op.f("uq_messages_id")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_messages_idempotency_key")),
    )
    op.create_index("ix_messages_crm_ref", "messages", ["crm_ref"])
    op.create_index(
        "ix_messages_expiring",
        "messages",
        ["expires_at"],
        postgresql_where=sa.text("state = 'queued' AND expires_at IS NOT NULL"),
        sqlite_where=sa.text("state = 'queued' AND expires_at IS NOT NULL"),
    )
    op.create_index("ix_messages_gateway_msg_id", "messages", ["gateway_msg_id"])
    op.create_index(
        "ix_messages_queued",
        "messages",
        ["channel_id", "priority", "due_at", "seq"],
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_messages_recipient", "messages", ["recipient", "seq"])
    op.create_index(
        "ix_messages_sending",
        "messages",
        ["channel_id", "recipient"],
        postgresql_where=sa.text("state = 'sending'"),
        sqlite_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_messages_to_check",
        "messages",
        ["next_check_at"],
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
        sqlite_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.create_index(
        "ix_messages_unresolved",
        "messages",
        ["channel_id", "state"],
        postgresql_where=sa.text("state IN ('accepted', 'in_doubt')"),
        sqlite_where=sa.text("state IN ('accepted', 'in_doubt')"),
    )
    op.create_index("ix_messages_whatsapp_key_id", "messages", ["whatsapp_key_id"])

    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("gateway_msg_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.String(length=300), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["message_seq"], ["messages.seq"], name=op.f("fk_attempts_message_seq_messages")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("message_seq", "number", name=op.f("uq_attempts_message_seq")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("channel_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=True),
        sa.Column("after", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_events_channel_id_channels")),
        sa.ForeignKeyConstraint(["message_seq"], ["messages.seq"], name=op.f("fk_events_message_seq_messages")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_message_seq", "events", ["message_seq"])
    op.create_index(
        "ix_events_of_channel",
        "events",
        ["channel_id", "id"],
        postgresql_where=sa.text("message_seq IS NULL"),
        sqlite_where=sa.text("message_seq IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_events_of_channel", table_name="events")
    op.drop_index("ix_events_message_seq", table_name="events")

    op.drop_table("events")
    op.drop_table("attempts")
    op.drop_index("ix_messages_whatsapp_key_id", table_name="messages")
    op.drop_index("ix_messages_unresolved", table_name="messages")
    op.drop_index("ix_messages_to_check", table_name="messages")
    op.drop_index("ix_messages_sending", table_name="messages")
    op.drop_index("ix_messages_recipient", table_name="messages")
    op.drop_index("ix_messages_queued", table_name="messages")
    op.drop_index("ix_messages_gateway_msg_id", table_name="messages")
    op.drop_index("ix_messages_expiring", table_name="messages")
    op.drop_index("ix_messages_crm_ref", table_name="messages")

    op.drop_table("messages")
    op.drop_table("channels")
