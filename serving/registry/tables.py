"""The registry's tables. Primary keys begin with the event, so that no query leaves its event."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    false,
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
    # The decision policy: `threshold`, or one of the next two, or none of the three for the settings'.
    Column("target_false_match_rate", Float),
    Column("strictness", String(16)),
    # Which thresholds a request may ask for: none of its own, stricter ones, or any.
    Column("request_policy", String(16), nullable=False, server_default="stricter"),
    Column("quality_level", String(16)),
    Column("retention_days", Integer),
    Column("consent_required", Boolean, nullable=False, server_default=false()),
    Column("closed_at", UtcDateTime),
    # Of the gallery, where the vectors of `pack_id` lie: null for the event's key itself.
    Column("partition", String(32)),
    # The pack that the event moves to, the partition of its vectors there, and since when; all or none.
    Column("migrating_to", String(128)),
    Column("next_partition", String(32)),
    Column("migration_started_at", UtcDateTime),
    # What becomes of faces that are not live; null: as the settings say.
    Column("liveness", String(16)),
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
    # For the search by name, which knows no case.
    Column("name_folded", String(600)),
    Column("metadata", JSON),
    Column("consent_reference", String(200)),
    sqlite_with_rowid=False,
)
Index("ix_person_updated_at", person.c.event_key, person.c.updated_at)

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

# Which faces have a vector of the pack that their event moves to as well, beside that of its present pack.
# Pending and active are meant as in `face`.
migrated_face = Table(
    "migrated_face",
    metadata,
    Column("event_key", String(32), primary_key=True),
    Column("person_id", identifier_type(), primary_key=True),
    Column("id", identifier_type(), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    ForeignKeyConstraint(
        ["event_key", "person_id", "id"],
        ["face.event_key", "face.person_id", "face.id"],
        name="fk_migrated_face_face",
        ondelete="CASCADE",
    ),
    CheckConstraint("state IN ('pending', 'active')", name="state"),
    sqlite_with_rowid=False,
)
Index(
    "ix_migrated_face_pending",
    migrated_face.c.created_at,
    sqlite_where=text("state = 'pending'"),
    postgresql_where=text("state = 'pending'"),
)
# For counting people without reading the rows.
Index(
    "ix_migrated_face_active",
    migrated_face.c.event_key,
    migrated_face.c.state,
    migrated_face.c.person_id,
    sqlite_where=text("state = 'active'"),
    postgresql_where=text("state = 'active'"),
)

# What of the gallery to look through once more: a person, or a whole partition where person_id is null. No
# foreign keys: the rows outlive what they are about.
erasure = Table(
    "erasure",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("event_key", String(32), nullable=False),
    Column("person_id", identifier_type()),
    Column("due_at", UtcDateTime, nullable=False),
    Column("claimed_until", UtcDateTime),
    # Of a whole partition: its name and the pack whose vectors it holds; null where that was not noted.
    Column("partition", String(32)),
    Column("pack_id", String(128)),
)
Index("ix_erasure_due_at", erasure.c.due_at)
Index("ix_erasure_event_key", erasure.c.event_key)
Index(
    "uq_erasure_person",
    erasure.c.event_key,
    erasure.c.person_id,
    unique=True,
    sqlite_where=text("person_id IS NOT NULL"),
    postgresql_where=text("person_id IS NOT NULL"),
)
Index(
    "uq_erasure_partition",
    erasure.c.partition,
    unique=True,
    sqlite_where=text("person_id IS NULL"),
    postgresql_where=text("person_id IS NULL"),
)

# Who was erased, or lost access, so that no old backup brings them back: a hash each, and no name.
erased_subject = Table(
    "erased_subject",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
)
Index("ix_erased_subject_erased_at", erased_subject.c.erased_at)

# Answers to requests that carried an Idempotency-Key.
idempotent_request = Table(
    "idempotent_request",
    metadata,
    # SHA-256 over the caller, the route with its event, and the key.
    Column("id", String(64), primary_key=True),
    # Null while an event is being created.
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE")),
    Column("person_id", identifier_type()),
    # SHA-256 over all that was asked.
    Column("fingerprint", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Until then the request may be at work; after it a retry may take over.
    Column("claimed_until", UtcDateTime),
    Column("status", SmallInteger),
    Column("body", Text),
)
Index("ix_idempotent_request_created_at", idempotent_request.c.created_at)
Index("ix_idempotent_request_person", idempotent_request.c.event_key, idempotent_request.c.person_id)

event_statistics = Table(
    "event_statistics",
    metadata,
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), primary_key=True),
    # When the first of them was counted.
    Column("since", UtcDateTime, nullable=False),
    # Pictures answered, faces in them, and what became of the faces.
    Column("recognitions", BigInteger, nullable=False, server_default="0"),
    Column("faces", BigInteger, nullable=False, server_default="0"),
    Column("matches", BigInteger, nullable=False, server_default="0"),
    Column("unknowns", BigInteger, nullable=False, server_default="0"),
    Column("refusals", BigInteger, nullable=False, server_default="0"),
    # Of the faces, those taken for presentation attacks, refused or not.
    Column("spoofs", BigInteger, nullable=False, server_default="0"),
)

# How often the best candidate's cosine fell into each bin of width 0.02, from -1 (bin 0) to 1 (bin 99).
event_score = Table(
    "event_score",
    metadata,
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("bin", SmallInteger, primary_key=True),
    Column("faces", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Who has arrived at an event: seen by a camera at the door.
check_in = Table(
    "check_in",
    metadata,
    Column("event_key", String(32), primary_key=True),
    Column("person_id", identifier_type(), primary_key=True),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    # How often they came; sightings in quick succession are one.
    Column("times", Integer, nullable=False),
    Column("best_cosine", Float, nullable=False),
    # Where they were seen last.
    Column("place", String(100)),
    ForeignKeyConstraint(["event_key", "person_id"], ["person.event_key", "person.id"], ondelete="CASCADE"),
    sqlite_with_rowid=False,
)
Index("ix_check_in_first_at", check_in.c.event_key, check_in.c.first_at, check_in.c.person_id)

# What the triggers of revision 0010 count, in the transactions that change it; `part` is any number, since of
# PostgreSQL's writers each adds to a row that no other holds. The counts of an event are sums.
event_count = Table(
    "event_count",
    metadata,
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("people", BigInteger, nullable=False, server_default="0"),
    Column("faces", BigInteger, nullable=False, server_default="0"),
    Column("migrated_faces", BigInteger, nullable=False, server_default="0"),
    Column("arrivals", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
# Of those who have arrived, how many within each minute.
arrival_count = Table(
    "arrival_count",
    metadata,
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), primary_key=True),
    Column("minute", UtcDateTime, primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("arrivals", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What was last written for keeping elsewhere, one row of each kind. No backup holds it, since it tells of
# files elsewhere: of a registry that was just restored there is none yet.
last_copy = Table(
    "last_copy",
    metadata,
    Column("kind", String(16), primary_key=True),
    # The moment that it is of.
    Column("taken_at", UtcDateTime, nullable=False),
    Column("size_bytes", BigInteger),
    # What its disk had left afterwards.
    Column("free_bytes", BigInteger),
    Column("encrypted", Boolean),
    # Enrolled faces whose vectors the gallery did not have.
    Column("missing_faces", BigInteger),
    sqlite_with_rowid=False,
)

# Written out rather than bound, else the planner could not tell that a partial index applies.
IS_OPEN = event.c.state == literal_column("'open'")
IS_DELETING = event.c.state == literal_column("'deleting'")
IS_PENDING = face.c.state == literal_column("'pending'")
IS_ACTIVE = face.c.state == literal_column("'active'")
IS_MIGRATED = migrated_face.c.state == literal_column("'active'")
IS_BEING_MIGRATED = migrated_face.c.state == literal_column("'pending'")
IS_OF_PARTITION = erasure.c.person_id.is_(None)
IS_OF_PERSON = erasure.c.person_id.is_not(None)


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the connection's engine, which can say what to do when the row exists."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
