"""trouble that passes: a channel's rest after it, apart from its pace; session logs that could not be read yet"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True)
TO_DATE = sa.text("logs_due_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("channels", sa.Column("rest_until", TIME, nullable=True))
    op.add_column("outages", sa.Column("logs_due_at", TIME, nullable=True))
    op.execute("UPDATE outages SET logs_due_at = noticed_at WHERE logs_asked_at IS NULL AND state = 'down'")
    op.drop_column("outages", "logs_asked_at")
    op.create_index("ix_outages_to_date", "outages", ["logs_due_at"], postgresql_where=TO_DATE, sqlite_where=TO_DATE)


def downgrade() -> None:
    op.drop_index("ix_outages_to_date", table_name="outages")
    op.add_column("outages", sa.Column("logs_asked_at", TIME, nullable=True))
    op.execute("UPDATE outages SET logs_asked_at = noticed_at WHERE logs_due_at IS NULL")
    op.drop_column("outages", "logs_due_at")
    op.drop_column("channels", "rest_until")
