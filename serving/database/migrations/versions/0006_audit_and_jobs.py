"""The audit trail and background jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime, identifier_type

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor_kind", sa.String(16), nullable=False),
        sa.Column("actor_id", sa.String(32)),
        sa.Column("actor", identifier_type(200)),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("event_key", sa.String(32)),
        sa.Column("event_id", identifier_type()),
        sa.Column("person_id", identifier_type()),
        sa.Column("outcome", sa.String(64), nullable=False),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("address", sa.String(64)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("details", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entry"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_entry_actor", "audit_entry", ["actor", "at", "id"])
    op.create_index("ix_audit_entry_at", "audit_entry", ["at", "id"])
    op.create_index("ix_audit_entry_event_id", "audit_entry", ["event_id", "at", "id"])
    op.create_table(
        "job",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("claimed_until", UtcDateTime()),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("file", sa.String(200)),
        sa.Column("total", sa.Integer()),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rejected", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_detail", sa.Text()),
        sa.ForeignKeyConstraint(["event_key"], ["event.key"], name="fk_job_event", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    op.create_index("ix_job_event_key", "job", ["event_key", "created_at"])
    op.create_index("ix_job_state", "job", ["state", "claimed_until"])
    op.create_table(
        "job_rejection",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(512), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_job_rejection_job", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "item", name="pk_job_rejection"),
    )
