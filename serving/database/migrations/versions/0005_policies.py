"""Policies of events, more about people, idempotent requests, statistics, arrivals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from serving.database.metadata import UtcDateTime, identifier_type

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "check_in",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("person_id", identifier_type(), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("best_cosine", sa.Float(), nullable=False),
        sa.Column("place", sa.String(100)),
        sa.ForeignKeyConstraint(
            ["event_key", "person_id"],
            ["person.event_key", "person.id"],
            name="fk_check_in_person",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_key", "person_id", name="pk_check_in"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_check_in_first_at", "check_in", ["event_key", "first_at", "person_id"])
    op.create_table(
        "event_score",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("bin", sa.SmallInteger(), nullable=False),
        sa.Column("faces", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_key"], ["event.key"], name="fk_event_score_event", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_key", "outcome", "bin", name="pk_event_score"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event_statistics",
        sa.Column("event_key", sa.String(32), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("recognitions", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("faces", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("matches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unknowns", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refusals", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["event_key"], ["event.key"], name="fk_event_statistics_event", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("event_key", name="pk_event_statistics"),
    )
    op.create_table(
        "idempotent_request",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("event_key", sa.String(32)),
        sa.Column("person_id", identifier_type()),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_until", UtcDateTime()),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("body", sa.Text()),
        sa.ForeignKeyConstraint(
            ["event_key"], ["event.key"], name="fk_idempotent_request_event", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_idempotent_request"),
    )
    op.create_index("ix_idempotent_request_created_at", "idempotent_request", ["created_at"])
    op.create_index("ix_idempotent_request_person", "idempotent_request", ["event_key", "person_id"])
    op.add_column("event", sa.Column("target_false_match_rate", sa.Float()))
    op.add_column("event", sa.Column("strictness", sa.String(16)))
    op.add_column(
        "event", sa.Column("request_policy", sa.String(16), server_default="stricter", nullable=False)
    )
    op.add_column("event", sa.Column("quality_level", sa.String(16)))
    op.add_column("event", sa.Column("retention_days", sa.Integer()))
    op.add_column(
        "event", sa.Column("consent_required", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("event", sa.Column("closed_at", UtcDateTime()))
    op.add_column("person", sa.Column("name_folded", sa.String(600)))
    op.add_column("person", sa.Column("metadata", sa.JSON()))
    op.add_column("person", sa.Column("consent_reference", sa.String(200)))
    op.create_index("ix_person_updated_at", "person", ["event_key", "updated_at"])
    _index_for_counting("ix_person_enrolled", "person", "enrolled_at", "IS NOT NULL")
    _index_for_counting("ix_face_active", "face", "state", "= 'active'")
    _fold_names()


def _index_for_counting(name: str, table: str, column: str, condition: str) -> None:
    where = sa.text(f"{column} {condition}")
    op.create_index(name, table, ["event_key", column], sqlite_where=where, postgresql_where=where)


def _fold_names() -> None:
    person = sa.table(
        "person", sa.column("event_key"), sa.column("id"), sa.column("name"), sa.column("name_folded")
    )
    connection = op.get_bind()
    named = sa.select(person.c.event_key, person.c.id, person.c.name).where(person.c.name.is_not(None))
    for event_key, id, name in connection.execute(named).all():
        this = sa.and_(person.c.event_key == event_key, person.c.id == id)
        connection.execute(sa.update(person).where(this).values(name_folded=name.casefold()))
