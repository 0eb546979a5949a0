"""lists without walks: indexes for the newest messages of a channel, and of those that did not go out"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ENDED = sa.text("state IN ('failed', 'expired', 'cancelled')")


def upgrade() -> None:
    op.create_index("ix_messages_of_channel", "messages", [sa.text("(-channel_id)"), "seq"])
    op.create_index("ix_messages_ended", "messages", ["state", "seq"], postgresql_where=ENDED, sqlite_where=ENDED)


def downgrade() -> None:
    op.drop_index("ix_messages_ended", table_name="messages")
    op.drop_index("ix_messages_of_channel", table_name="messages")
