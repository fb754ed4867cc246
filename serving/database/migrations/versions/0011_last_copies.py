"""What was last written of the registry for keeping elsewhere: a backup, a list of erasures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "last_copy",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("taken_at", UtcDateTime(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("free_bytes", sa.BigInteger()),
        sa.Column("encrypted", sa.Boolean()),
        sa.Column("missing_faces", sa.BigInteger()),
        sa.PrimaryKeyConstraint("kind", name="pk_last_copy"),
        sqlite_with_rowid=False,
    )
