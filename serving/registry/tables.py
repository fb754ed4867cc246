"""The registry's tables. Primary keys begin with the event, so that no query leaves its event."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    literal_column,
    text,
)

from serving.database.metadata import UtcDateTime, identifier_type, metadata

OPEN, DELETING = "open", "deleting"
PENDING, ACTIVE = "pending", "active"

event = Table(
    "event",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("id", identifier_type(), nullable=False),
    Column("name", String(200)),
    Column("pack_id", String(128), nullable=False),
    Column("threshold", Float),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    CheckConstraint("state IN ('open', 'deleting')", name="state"),
)
Index(
    "uq_event_open_id",
    event.c.id,
    unique=True,
    sqlite_where=text("state = 'open'"),
    postgresql_where=text("state = 'open'"),
)
Index(
    "ix_event_deleting_id",
    event.c.id,
    sqlite_where=text("state = 'deleting'"),
    postgresql_where=text("state = 'deleting'"),
)

person = Table(
    "person",
    metadata,
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), primary_key=True),
    Column("id", identifier_type(), primary_key=True),
    Column("name", String(200)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # When an enrolment of this person first finished; until then nobody sees the person.
    Column("enrolled_at", UtcDateTime),
    sqlite_with_rowid=False,
)

face = Table(
    "face",
    metadata,
    Column("event_key", String(32), primary_key=True),
    Column("person_id", identifier_type(), primary_key=True),
    Column("id", identifier_type(), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("detection_score", Float),
    ForeignKeyConstraint(["event_key", "person_id"], ["person.event_key", "person.id"], ondelete="CASCADE"),
    CheckConstraint("state IN ('pending', 'active')", name="state"),
    sqlite_with_rowid=False,
)
Index(
    "ix_face_pending",
    face.c.created_at,
    sqlite_where=text("state = 'pending'"),
    postgresql_where=text("state = 'pending'"),
)

# Written out rather than bound, else the planner could not tell that a partial index applies.
IS_OPEN = event.c.state == literal_column("'open'")
IS_DELETING = event.c.state == literal_column("'deleting'")
IS_PENDING = face.c.state == literal_column("'pending'")
IS_ACTIVE = face.c.state == literal_column("'active'")
