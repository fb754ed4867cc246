"""Who was erased, by hash, so that no old backup brings them back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erased_subject",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_erased_subject"),
    )
    op.create_index("ix_erased_subject_erased_at", "erased_subject", ["erased_at"])
