"""Erasures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime, identifier_type

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("person_id", identifier_type()),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_until", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_erasure"),
    )
    op.create_index("ix_erasure_due_at", "erasure", ["due_at"])
    of_person, of_event = sa.text("person_id IS NOT NULL"), sa.text("person_id IS NULL")
    op.create_index(
        "uq_erasure_person",
        "erasure",
        ["event_key", "person_id"],
        unique=True,
        sqlite_where=of_person,
        postgresql_where=of_person,
    )
    op.create_index(
        "uq_erasure_event",
        "erasure",
        ["event_key"],
        unique=True,
        sqlite_where=of_event,
        postgresql_where=of_event,
    )
