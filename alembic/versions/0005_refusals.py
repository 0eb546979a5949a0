"""refusals: which messages meet them while others are taken, and how many in a row do not say how long to wait"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True)
REFUSED = sa.text("refused_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("channels", sa.Column("unhinted_refusals", sa.SmallInteger(), nullable=False, server_default="0"))
    op.add_column("messages", sa.Column("refusals", sa.SmallInteger(), nullable=False, server_default="0"))
    op.add_column("messages", sa.Column("refused_at", TIME, nullable=True))
    op.add_column("messages", sa.Column("retry_at", TIME, nullable=True))
    op.create_index(
        "ix_messages_refused",
        "messages",
        ["channel_id", "recipient"],
        postgresql_where=REFUSED,
        sqlite_where=REFUSED,
    )


def downgrade() -> None:
    op.drop_index("ix_messages_refused", "messages")
    for name in ("retry_at", "refused_at", "refusals"):
        op.drop_column("messages", name)
    op.drop_column("channels", "unhinted_refusals")
