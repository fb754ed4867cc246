"""What events ask of the liveness stage, and how many faces it took for presentation attacks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("event", sa.Column("liveness", sa.String(16)))
    op.add_column(
        "event_statistics", sa.Column("spoofs", sa.BigInteger(), server_default="0", nullable=False)
    )
