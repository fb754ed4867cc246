"""Alembic's entry point; the caller supplies the connection and owns the transaction."""

from __future__ import annotations

from alembic import context

from serving.database.metadata import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
