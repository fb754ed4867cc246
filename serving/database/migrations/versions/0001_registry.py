"""Events, people, faces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime, identifier_type

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("id", identifier_type(), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("pack_id", sa.String(128), nullable=False),
        sa.Column("threshold", sa.Float()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_event"),
        sa.CheckConstraint("state IN ('open', 'deleting')", name="ck_event_state"),
    )
    is_open, is_deleting = sa.text("state = 'open'"), sa.text("state = 'deleting'")
    op.create_index(
        "uq_event_open_id", "event", ["id"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index(
        "ix_event_deleting_id", "event", ["id"], sqlite_where=is_deleting, postgresql_where=is_deleting
    )
    op.create_table(
        "person",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("id", identifier_type(), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("enrolled_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("event_key", "id", name="pk_person"),
        sa.ForeignKeyConstraint(["event_key"], ["event.key"], name="fk_person_event", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "face",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("person_id", identifier_type(), nullable=False),
        sa.Column("id", identifier_type(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detection_score", sa.Float()),
        sa.PrimaryKeyConstraint("event_key", "person_id", "id", name="pk_face"),
        sa.ForeignKeyConstraint(
            ["event_key", "person_id"],
            ["person.event_key", "person.id"],
            name="fk_face_person",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("state IN ('pending', 'active')", name="ck_face_state"),
        sqlite_with_rowid=False,
    )
    is_pending = sa.text("state = 'pending'")
    op.create_index(
        "ix_face_pending", "face", ["created_at"], sqlite_where=is_pending, postgresql_where=is_pending
    )
