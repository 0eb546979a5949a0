"""lists without walks: indexes for a channel's newest messages, for what did not go out, and for what is due"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ENDED = sa.text("state IN ('failed', 'expired', 'cancelled')")
TO_CHECK = sa.text("next_check_at IS NOT NULL")
DOUBTS = sa.text("state = 'in_doubt' AND next_check_at IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_messages_of_channel", "messages", [sa.text("(-channel_id)"), "seq"])
    op.create_index("ix_messages_ended", "messages", ["state", "seq"], postgresql_where=ENDED, sqlite_where=ENDED)
    _check_by(["channel_id", "state", "next_check_at"])
    op.create_index("ix_messages_doubts", "messages", ["next_check_at"], postgresql_where=DOUBTS, sqlite_where=DOUBTS)


def downgrade() -> None:
    op.drop_index("ix_messages_doubts", table_name="messages")
    _check_by(["state", "next_check_at"])
    op.drop_index("ix_messages_ended", table_name="messages")
    op.drop_index("ix_messages_of_channel", table_name="messages")


def _check_by(columns: list[str]) -> None:
    op.drop_index("ix_messages_to_check", table_name="messages")
    op.create_index("ix_messages_to_check", "messages", columns, postgresql_where=TO_CHECK, sqlite_where=TO_CHECK)
