"""Alembic migrations of all tables; each revision is one file in versions/, numbered in order."""

HEAD = "0011"
"""The newest revision, known without importing Alembic."""
