"""The audit trail's table. No foreign keys: entries outlive what they are about."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, SmallInteger, String, Table

from serving.database.metadata import UtcDateTime, identifier_type, metadata

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    # account, api_key, service (a scheduled job) or anonymous
    Column("actor_kind", String(16), nullable=False),
    Column("actor_id", String(32)),
    Column("actor", identifier_type(200)),
    Column("action", String(64), nullable=False),
    Column("event_key", String(32)),
    Column("event_id", identifier_type()),
    Column("person_id", identifier_type()),
    # `ok`, or the code of the error
    Column("outcome", String(64), nullable=False),
    Column("status", SmallInteger),
    Column("address", String(64)),
    Column("request_id", String(128)),
    # Counts and ids only; never a vector, a picture or a secret.
    Column("details", JSON),
    sqlite_autoincrement=True,
)
# In the order in which pages are read.
Index("ix_audit_entry_at", audit_entry.c.at, audit_entry.c.id)
Index("ix_audit_entry_event_id", audit_entry.c.event_id, audit_entry.c.at, audit_entry.c.id)
Index("ix_audit_entry_actor", audit_entry.c.actor, audit_entry.c.at, audit_entry.c.id)
