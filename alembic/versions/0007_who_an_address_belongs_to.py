"""who an address of WhatsApp's belongs to: whoever opts out is found by it"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KNOWN = sa.text("whatsapp_jid IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_messages_whatsapp_jid", "messages", ["whatsapp_jid"], postgresql_where=KNOWN, sqlite_where=KNOWN
    )


def downgrade() -> None:
    op.drop_index("ix_messages_whatsapp_jid", "messages")
