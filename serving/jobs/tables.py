"""The jobs' tables."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, Index, Integer, String, Table, Text

from serving.database.metadata import UtcDateTime, metadata

job = Table(
    "job",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), nullable=False),
    # import_pictures, import_vectors or export
    Column("kind", String(32), nullable=False),
    # queued, running, done, failed or cancelled
    Column("state", String(16), nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    # One runner at a time: whoever holds the claim until it runs out.
    Column("claimed_by", String(64)),
    Column("claimed_until", UtcDateTime),
    Column("options", JSON, nullable=False),
    # The name of its upload or result in the jobs directory.
    Column("file", String(200)),
    # Items: pictures or people. `done` counts from the front, so that a resumed job knows where it was.
    Column("total", Integer),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("rejected", Integer, nullable=False, server_default="0"),
    Column("error_code", String(64)),
    Column("error_detail", Text),
)
Index("ix_job_event_key", job.c.event_key, job.c.created_at)
Index("ix_job_state", job.c.state, job.c.claimed_until)

job_rejection = Table(
    "job_rejection",
    metadata,
    Column("job_id", String(32), ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("name", String(512), nullable=False),
    Column("code", String(64), nullable=False),
    Column("detail", Text, nullable=False),
)
