"""Events that move to another pack: their partitions, faces under the new pack, erasures by partition."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime, identifier_type

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("event", sa.Column("partition", sa.String(32)))
    op.add_column("event", sa.Column("migrating_to", sa.String(128)))
    op.add_column("event", sa.Column("next_partition", sa.String(32)))
    op.add_column("event", sa.Column("migration_started_at", UtcDateTime()))

    op.create_table(
        "migrated_face",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("person_id", identifier_type(), nullable=False),
        sa.Column("id", identifier_type(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.CheckConstraint("state IN ('pending', 'active')", name="ck_migrated_face_state"),
        sa.ForeignKeyConstraint(
            ["event_key", "person_id", "id"],
            ["face.event_key", "face.person_id", "face.id"],
            name="fk_migrated_face_face",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_key", "person_id", "id", name="pk_migrated_face"),
        sqlite_with_rowid=False,
    )
    is_pending, is_active = sa.text("state = 'pending'"), sa.text("state = 'active'")
    op.create_index(
        "ix_migrated_face_pending",
        "migrated_face",
        ["created_at"],
        sqlite_where=is_pending,
        postgresql_where=is_pending,
    )
    op.create_index(
        "ix_migrated_face_active",
        "migrated_face",
        ["event_key", "state", "person_id"],
        sqlite_where=is_active,
        postgresql_where=is_active,
    )

    op.add_column("erasure", sa.Column("partition", sa.String(32)))
    op.add_column("erasure", sa.Column("pack_id", sa.String(128)))
    op.execute("UPDATE erasure SET partition = event_key WHERE person_id IS NULL")
    op.drop_index("uq_erasure_event", "erasure")
    of_partition = sa.text("person_id IS NULL")
    op.create_index(
        "uq_erasure_partition",
        "erasure",
        ["partition"],
        unique=True,
        sqlite_where=of_partition,
        postgresql_where=of_partition,
    )
    op.create_index("ix_erasure_event_key", "erasure", ["event_key"])
