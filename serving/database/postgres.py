"""PostgreSQL through asyncpg; the same synchronous units of work run on it as on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

T = TypeVar("T")

POOL_SIZE = 4
MAX_OVERFLOW = 4
POOL_WAIT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 20.0
RECYCLE_S = 1800
_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})  # serialisation failure, deadlock
_WRITE_ATTEMPTS = 3


class PostgresBackend:
    """A pool of connections; belongs to the event loop that opened it."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=MAX_OVERFLOW,
            pool_timeout=POOL_WAIT_S,
            pool_recycle=RECYCLE_S,
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": STATEMENT_TIMEOUT_S,
                "server_settings": {"application_name": "rollcall"},
            },
        )
        # Every read is one statement: AUTOCOMMIT saves it the two round trips of BEGIN and ROLLBACK.
        self._reads = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    async def open(self) -> None:
        async with self._reads.connect():
            pass

    async def close(self) -> None:
        await self._engine.dispose()

    async def compact(self) -> None:
        """Nothing to do: the server's autovacuum is its operator's."""

    async def look_up(self, work: Callable[[Connection], T]) -> T:
        return await self.read(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._read_once(work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # The server dropped an idle connection; the pool has emptied itself and a read may be repeated.
        return await self._read_once(work)

    async def _read_once(self, work: Callable[[Connection], T]) -> T:
        async with self._reads.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        for attempt in range(1, _WRITE_ATTEMPTS + 1):
            try:
                async with self._engine.begin() as connection:
                    return await connection.run_sync(work)
            except DBAPIError as error:
                rolled_back = getattr(error.orig, "sqlstate", None) in _RETRYABLE_SQLSTATES
                if not rolled_back or attempt == _WRITE_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")
