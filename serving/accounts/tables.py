"""The tables of who calls: accounts, their sessions and their reach, API keys."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    UniqueConstraint,
    false,
    true,
)

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
    # Whether it reaches every event; else those in account_event.
    Column("all_events", Boolean, nullable=False, server_default=true()),
    # Tokens issued before this moment are void.
    Column("tokens_valid_from", UtcDateTime),
    UniqueConstraint("name"),
)

account_event = Table(
    "account_event",
    metadata,
    Column("account_id", String(32), ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), primary_key=True),
)
Index("ix_account_event_event_key", account_event.c.event_key)

# The one person record that an account owns: a link, so that credentials and faces lie apart.
account_person = Table(
    "account_person",
    metadata,
    Column("account_id", String(32), ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("event_key", String(32), nullable=False),
    Column("person_id", identifier_type(), nullable=False),
    ForeignKeyConstraint(["event_key", "person_id"], ["person.event_key", "person.id"], ondelete="CASCADE"),
    UniqueConstraint("event_key", "person_id"),
)

session = Table(
    "session",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", String(32), ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    # SHA-256 of the one refresh token that is good now.
    Column("refresh_hash", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)
Index("ix_session_account_id", session.c.account_id)
Index("ix_session_expires_at", session.c.expires_at)

api_key = Table(
    "api_key",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    # SHA-256: the secret is 256 random bits, so a slow hash would protect nothing more.
    Column("secret_hash", String(64), nullable=False),
    Column("scopes", String(200), nullable=False),
    Column("all_events", Boolean, nullable=False, server_default=false()),
    Column("account_id", String(32), ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)
Index("ix_api_key_account_id", api_key.c.account_id)

api_key_event = Table(
    "api_key_event",
    metadata,
    Column("api_key_id", String(32), ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
    Column("event_key", String(32), ForeignKey("event.key", ondelete="CASCADE"), primary_key=True),
)
Index("ix_api_key_event_event_key", api_key_event.c.event_key)
