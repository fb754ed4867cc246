"""The registry's tables. Primary keys begin with the event, so that no query leaves its event."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

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

# Gallery partitions to look through once more: of a person, or of an event where person_id is null. No
# foreign keys: the rows outlive what they are about.
erasure = Table(
    "erasure",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("event_key", String(32), nullable=False),
    Column("person_id", identifier_type()),
    Column("due_at", UtcDateTime, nullable=False),
    Column("claimed_until", UtcDateTime),
)
Index("ix_erasure_due_at", erasure.c.due_at)
Index(
    "uq_erasure_person",
    erasure.c.event_key,
    erasure.c.person_id,
    unique=True,
    sqlite_where=text("person_id IS NOT NULL"),
    postgresql_where=text("person_id IS NOT NULL"),
)
Index(
    "uq_erasure_event",
    erasure.c.event_key,
    unique=True,
    sqlite_where=text("person_id IS NULL"),
    postgresql_where=text("person_id IS NULL"),
)

# Written out rather than bound, else the planner could not tell that a partial index applies.
IS_OPEN = event.c.state == literal_column("'open'")
IS_DELETING = event.c.state == literal_column("'deleting'")
IS_PENDING = face.c.state == literal_column("'pending'")
IS_ACTIVE = face.c.state == literal_column("'active'")
IS_OF_EVENT = erasure.c.person_id.is_(None)
IS_OF_PERSON = erasure.c.person_id.is_not(None)


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the connection's engine, which can say what to do when the row exists."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
