"""Where the database is: reading a URL, and making a private place for an SQLite file."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from serving.directories import make_private_directory
from serving.errors import ConfigurationError

_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


def parse_url(url: str) -> URL:
    """Read `sqlite:///file` or `postgresql://user:password@host/name`; a driver named in the URL is replaced
    by the one this service uses.

    Raises:
        ConfigurationError: neither of the two engines, no file, or not a URL; never quotes the URL, which
            may hold a password.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername.startswith("sqlite") and not parsed.query:
            # Not every SQLAlchemy reads percent signs in the name of a file.
            parsed = parsed.set(database=unquote(url.partition(":///")[2]))
        driver = _DRIVERS[parsed.drivername.partition("+")[0]]
    except (ArgumentError, KeyError, ValueError):
        raise ConfigurationError(
            "The database URL must look like sqlite:////path/to/file or postgresql://user@host/name."
        ) from None
    parsed = parsed.set(drivername=driver)
    if driver.startswith("sqlite"):
        if not parsed.database or ":memory:" in parsed.database or parsed.database.startswith("file:"):
            raise ConfigurationError(
                "SQLite needs a file, because several processes share the database: sqlite:////path/to/file"
            )
        parsed = parsed.set(database=str(Path(parsed.database).expanduser().absolute()))
    return parsed


def find_sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database, there or not; None for a server. Raises as `parse_url`."""
    parsed = parse_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database is not None
    return Path(str(parsed.database)) if is_file else None


def prepare_file(path: Path) -> None:
    """Create the file (mode 0600) and its missing directories (0700); what exists keeps its mode.

    SQLite gives its -wal and -shm files the mode of the database file.
    """
    make_private_directory(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
