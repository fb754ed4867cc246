"""Bringing the tables up to date, from any number of processes at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from serving.database.location import parse_url, prepare_file
from serving.database.migrations import HEAD
from serving.database.sqlite import create_sqlite_engine, enable_wal, run_read, run_write
from serving.errors import ConfigurationError

_ADVISORY_LOCK = 0x526F6C6C63616C6C  # one number for all processes of this service


async def migrate(url: str) -> None:
    """Create or upgrade all tables; a few milliseconds when they are up to date.

    The check and the upgrade happen under a lock of the database, so of several processes one migrates
    and the others find it done. An upgrade that fails leaves the tables as they were.

    Raises:
        ConfigurationError: a bad URL, or the tables belong to a newer release.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        await asyncio.to_thread(_migrate_sqlite, parsed)
    else:
        await _migrate_postgres(parsed)


def _migrate_sqlite(url: URL) -> None:
    assert url.database is not None
    path = Path(url.database)
    prepare_file(path)
    enable_wal(path)
    engine = create_sqlite_engine(url, pool_size=1)
    try:
        if run_read(engine, _current_revision) != HEAD:
            run_write(engine, _upgrade)
    finally:
        engine.dispose()


async def _migrate_postgres(url: URL) -> None:
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.begin() as connection:
            if await connection.run_sync(_current_revision) == HEAD:
                return
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _upgrade(connection: Connection) -> None:
    # Alembic takes a fifth of a second to import, which a start with nothing to do should not pay.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    if _current_revision(connection) == HEAD:
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(f"The database cannot be migrated by this release: {error}") from error
