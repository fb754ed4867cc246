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
from serving.database.postgres_tls import split_url
from serving.database.sqlite import create_sqlite_engine, enable_wal, run_read, run_write
from serving.errors import ConfigurationError

CONNECT_TIMEOUT_S = 5.0
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
        if run_read(engine, current_revision) != HEAD:
            run_write(engine, upgrade)
    finally:
        engine.dispose()


async def _migrate_postgres(url: URL) -> None:
    plain_url, tls = split_url(url)
    engine = create_async_engine(
        plain_url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={**tls, "timeout": CONNECT_TIMEOUT_S},
    )
    try:
        async with engine.begin() as connection:
            if await connection.run_sync(current_revision) == HEAD:
                return
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


def current_revision(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Bring the tables to a revision, in the connection's transaction; nothing happens when they are there.

    Raises:
        ConfigurationError: they belong to a newer release.
    """
    # Alembic takes a fifth of a second to import, which a start with nothing to do should not pay.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    if current_revision(connection) == revision:
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise ConfigurationError(f"The database cannot be migrated by this release: {error}") from error
