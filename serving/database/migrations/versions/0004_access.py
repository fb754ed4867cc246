"""Sessions, API keys, the reach of accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime, identifier_type

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_event",
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name="fk_account_event_account", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["event_key"], ["event.key"], name="fk_account_event_event", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "event_key", name="pk_account_event"),
    )
    op.create_index("ix_account_event_event_key", "account_event", ["event_key"])
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("all_events", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime()),
        sa.Column("last_used_at", UtcDateTime()),
        sa.Column("revoked_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name="fk_api_key_account", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
    )
    op.create_index("ix_api_key_account_id", "api_key", ["account_id"])
    op.create_table(
        "session",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("refresh_hash", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name="fk_session_account", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
    )
    op.create_index("ix_session_account_id", "session", ["account_id"])
    op.create_index("ix_session_expires_at", "session", ["expires_at"])
    op.create_table(
        "account_person",
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("person_id", identifier_type(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name="fk_account_person_account", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["event_key", "person_id"],
            ["person.event_key", "person.id"],
            name="fk_account_person_person",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", name="pk_account_person"),
        sa.UniqueConstraint("event_key", "person_id", name="uq_account_person_event_key_person_id"),
    )
    op.create_table(
        "api_key_event",
        sa.Column("api_key_id", sa.String(32), nullable=False),
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_key.id"], name="fk_api_key_event_api_key", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["event_key"], ["event.key"], name="fk_api_key_event_event", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("api_key_id", "event_key", name="pk_api_key_event"),
    )
    op.create_index("ix_api_key_event_event_key", "api_key_event", ["event_key"])
    op.add_column("account", sa.Column("all_events", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("account", sa.Column("tokens_valid_from", UtcDateTime()))
