"""The one SQL database behind the registry and the accounts: SQLite by default, PostgreSQL by URL."""

from serving.database.engine import Database
from serving.database.migration import migrate
from serving.settings.stores import sqlite_url

__all__ = ["Database", "migrate", "sqlite_url"]
