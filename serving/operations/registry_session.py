"""One transaction of the registry that lasts for a whole backup or restore, on either engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from serving.database.location import parse_url, prepare_file
from serving.database.postgres_tls import split_url
from serving.database.sqlite import create_sqlite_engine, enable_wal
from serving.errors import BackupError

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
APPLICATION_NAME = "rollcall-operator"
"""Not that of the service's own sessions, by which a restore knows that one runs."""


class Session:
    """Runs units of work in its transaction, which ends, undone unless committed, with the session.

    Attributes:
        commit: makes what was done last.
    """

    def __init__(self, run: Callable[..., Awaitable[Any]], commit: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self.commit = commit

    async def run(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a unit of work returns."""
        result: T = await self._run(work, *args, **kwargs)
        return result


@contextlib.asynccontextmanager
async def open_snapshot(url: str, *, check_tables: bool = True) -> AsyncIterator[Session]:
    """All statements see the registry as it was at one moment; nothing can be changed.

    Raises:
        BackupError: there is no database, or it cannot be reached.
    """
    async with _open(url, "REPEATABLE READ", "BEGIN") as session:
        if check_tables:
            await session.run(_look_once)
        yield session


def _look_once(connection: Connection) -> None:
    """The moment of a snapshot is that of its first statement."""
    connection.execute(text("SELECT 1 FROM alembic_version")).all()


@contextlib.asynccontextmanager
async def open_writing(url: str) -> AsyncIterator[Session]:
    """The database to oneself where it is SQLite; makes the file of one. Raises BackupError."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(str(parsed.database))
        prepare_file(path)
        enable_wal(path)
    async with _open(url, "READ COMMITTED", "BEGIN IMMEDIATE") as session:
        yield session


@contextlib.asynccontextmanager
async def _open(url: str, isolation: Any, begin: str) -> AsyncIterator[Session]:
    parsed = parse_url(url)
    is_open = False
    try:
        if parsed.get_backend_name() == "sqlite":
            if not os.path.isfile(str(parsed.database)):  # noqa: ASYNC240  # one look, in a command
                raise BackupError(f"there is no registry in {parsed.database}")
            engine = create_sqlite_engine(parsed, pool_size=1)
            try:
                with engine.connect() as connection:
                    connection.exec_driver_sql(begin)

                    async def run(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                        return work(connection, *args, **kwargs)

                    async def commit() -> None:
                        connection.exec_driver_sql("COMMIT")

                    is_open = True
                    yield Session(run, commit)
            finally:
                engine.dispose()
            return
        plain_url, tls = split_url(parsed)
        remote = create_async_engine(
            plain_url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={
                **tls,
                "timeout": CONNECT_TIMEOUT_S,
                "server_settings": {"application_name": APPLICATION_NAME},
            },
        )
        try:
            async with remote.connect() as link:
                options: dict[str, Any] = {"isolation_level": isolation}
                if begin == "BEGIN":
                    options["postgresql_readonly"] = True
                await link.execution_options(**options)
                is_open = True
                yield Session(link.run_sync, link.commit)
        finally:
            await remote.dispose()
    except (DBAPIError, OSError) as error:
        if is_open and isinstance(error, OSError):
            raise  # of what the session is used for
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise BackupError(f"the registry cannot be used: {type(cause).__name__}: {cause}") from None
