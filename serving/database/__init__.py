"""The one SQL database behind the registry and the accounts: SQLite by default, PostgreSQL by URL."""

from serving.database.engine import Database, sqlite_url
from serving.database.migration import migrate

__all__ = ["Database", "migrate", "sqlite_url"]
