"""trouble that passes: a channel's rest after it, apart from its pace"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("channels", sa.Column("rest_until", TIME, nullable=True))


def downgrade() -> None:
    op.drop_column("channels", "rest_until")
