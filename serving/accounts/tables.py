"""The accounts' table."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, UniqueConstraint

from serving.database.metadata import UtcDateTime, identifier_type, metadata

account = Table(
    "account",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", identifier_type(), nullable=False),
    Column("role", String(32), nullable=False),
    Column("password_hash", String(512)),
    Column("disabled_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("name"),
)
