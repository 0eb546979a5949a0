"""truth under failure: the window, doubt, outages, webhooks"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True)
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: Name, type, and what rows that exist already get (None: the column may be empty).
CHANNEL_COLUMNS = (
    ("refused_since", TIME, None),
    ("slowdown", sa.Double(), "1"),
    ("daily_cap", sa.Integer(), None),
    ("posts_on", sa.Date(), None),
    ("posts_that_day", sa.Integer(), "0"),
    ("unacked_window", sa.Integer(), "1"),
    ("last_tick_at", TIME, None),
    ("overtaken_before", TIME, None),
    ("tick_latency_s", sa.Double(), "0"),
    ("suspect_before", TIME, None),
    ("probe_at", TIME, None),
    ("probes", sa.Integer(), "0"),
    ("ticks_by_webhook", sa.Integer(), "0"),
    ("ticks_by_asking", sa.Integer(), "0"),
    ("last_webhook_at", TIME, None),
)
MESSAGE_COLUMNS = (
    ("doubts", sa.SmallInteger(), "0"),
    ("resends", sa.SmallInteger(), "0"),
    ("duplicates", sa.SmallInteger(), "0"),
    ("attention", sa.String(length=32), None),
    ("asked_at", TIME, None),
)
ATTEMPT_COLUMNS = (
    ("whatsapp_key_id", sa.String(length=128), None),
    ("ack", sa.SmallInteger(), None),
    ("ticked_at", TIME, None),
)
ADDED = {"channels": CHANNEL_COLUMNS, "messages": MESSAGE_COLUMNS, "attempts": ATTEMPT_COLUMNS}

OPEN = sa.text("state IN ('sending', 'accepted', 'in_doubt') AND attention IS NULL")
UNRESOLVED = sa.text("state IN ('accepted', 'in_doubt')")
ATTENTION = sa.text("attention IS NOT NULL")
TO_CHECK = sa.text("next_check_at IS NOT NULL")
STILL_ON = sa.text("ended_at IS NULL")
TO_TELL = sa.text("alarm_due_at IS NOT NULL")


def _state(name: str, *codes: str) -> sa.Enum:
    return sa.Enum(*codes, name=name, native_enum=False, length=16)


def _index(name: str, table: str, columns: list[str], where: sa.TextClause, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, postgresql_where=where, sqlite_where=where)


def upgrade() -> None:
    for table, columns in ADDED.items():
        for name, kind, given in columns:
            op.add_column(table, sa.Column(name, kind, nullable=given is None, server_default=given))
    # WhatsApp's id belongs to the attempt that it ticked.
    op.execute(
        "UPDATE attempts SET whatsapp_key_id = (SELECT m.whatsapp_key_id FROM messages m"
        " WHERE m.seq = attempts.message_seq AND m.gateway_msg_id = attempts.gateway_msg_id)"
        " WHERE gateway_msg_id IS NOT NULL"
    )
    op.drop_index("ix_messages_gateway_msg_id", table_name="messages")
    op.drop_index("ix_messages_whatsapp_key_id", table_name="messages")
    op.drop_index("ix_messages_unresolved", table_name="messages")
    op.create_index("ix_attempts_gateway_msg_id", "attempts", ["gateway_msg_id"])
    op.create_index("ix_attempts_whatsapp_key_id", "attempts", ["whatsapp_key_id"])
    _index("ix_messages_open", "messages", ["channel_id", "recipient"], OPEN)
    _index("ix_messages_attention", "messages", ["channel_id", "state"], ATTENTION)
    op.drop_index("ix_messages_to_check", table_name="messages")
    _index("ix_messages_to_check", "messages", ["state", "next_check_at"], TO_CHECK)

    op.create_table(
        "outages",
        sa.Column("id", KEY, nullable=False),
        sa.Column("channel_id", KEY, nullable=False),
        sa.Column(
            "state", _state("channel_state", "unknown", "up", "down", "mute", "blocked", "paused"), nullable=False
        ),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("began_by", sa.String(length=16), nullable=False),
        sa.Column("noticed_at", TIME, nullable=False),
        sa.Column("noticed_by", sa.String(length=16), nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("ended_by", sa.String(length=16), nullable=True),
        sa.Column("alarm_due_at", TIME, nullable=True),
        sa.Column("alarmed_at", TIME, nullable=True),
        sa.Column("restart_due_at", TIME, nullable=True),
        sa.Column("restarted_at", TIME, nullable=True),
        sa.Column("restart_result", sa.String(length=64), nullable=True),
        sa.Column("logs_asked_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_outages_channel_id_channels")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outages")),
    )
    op.create_index("ix_outages_of_channel", "outages", ["channel_id", "id"])
    _index("uq_outages_open", "outages", ["channel_id"], STILL_ON, unique=True)
    _index("ix_outages_to_tell", "outages", ["alarm_due_at"], TO_TELL)
    op.create_table(
        "outage_messages",
        sa.Column("outage_id", KEY, nullable=False),
        sa.Column("message_seq", KEY, nullable=False),
        sa.Column(
            "state_then",
            _state(
                "message_state",
                *("queued", "sending", "accepted", "in_doubt", "sent"),
                *("delivered", "read", "failed", "expired", "cancelled"),
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["message_seq"], ["messages.seq"], name=op.f("fk_outage_messages_message_seq_messages")
        ),
        sa.ForeignKeyConstraint(["outage_id"], ["outages.id"], name=op.f("fk_outage_messages_outage_id_outages")),
        sa.PrimaryKeyConstraint("outage_id", "message_seq", name=op.f("pk_outage_messages")),
    )
    op.create_table(
        "webhook_facts",
        sa.Column("id", KEY, nullable=False),
        sa.Column("channel_id", KEY, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("whatsapp_key_id", sa.String(length=128), nullable=True),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.Column("next_try_at", TIME, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_webhook_facts_channel_id_channels")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_facts")),
    )
    op.create_index("ix_webhook_facts_next_try_at", "webhook_facts", ["next_try_at"])
    op.create_index("ix_webhook_facts_whatsapp_key_id", "webhook_facts", ["whatsapp_key_id"])


def downgrade() -> None:
    op.drop_table("webhook_facts")
    op.drop_table("outage_messages")
    op.drop_table("outages")
    op.drop_index("ix_messages_to_check", table_name="messages")
    op.drop_index("ix_messages_attention", table_name="messages")
    op.drop_index("ix_messages_open", table_name="messages")
    op.drop_index("ix_attempts_whatsapp_key_id", table_name="attempts")
    op.drop_index("ix_attempts_gateway_msg_id", table_name="attempts")
    for table, columns in ADDED.items():
        for name, _, _ in columns:
            op.drop_column(table, name)
    _index("ix_messages_to_check", "messages", ["next_check_at"], TO_CHECK)
    _index("ix_messages_unresolved", "messages", ["channel_id", "state"], UNRESOLVED)
    op.create_index("ix_messages_whatsapp_key_id", "messages", ["whatsapp_key_id"])
    op.create_index("ix_messages_gateway_msg_id", "messages", ["gateway_msg_id"])
