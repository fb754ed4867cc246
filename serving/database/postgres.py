"""PostgreSQL through asyncpg; the same synchronous units of work run on it as on SQLite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from serving.database.postgres_tls import split_url
from serving.settings.stores import DatabaseSettings

T = TypeVar("T")

RECYCLE_S = 1800
ANSWER_GRACE_S = 1.0
"""Beyond the server's own limit on a statement, for the answer to arrive that it was cancelled."""
IDLE_TRANSACTION_S = 60
"""A transaction that says nothing for so long belongs to a client that is gone; its locks must not stay."""
_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})  # serialisation failure, deadlock
_WRITE_ATTEMPTS = 3


class PostgresBackend:
    """A pool of connections; belongs to the event loop that opened it."""

    def __init__(self, url: URL, settings: DatabaseSettings) -> None:
        plain_url, tls = split_url(url)
        self._engine = create_async_engine(
            plain_url,
            pool_size=settings.pool_size,
            max_overflow=settings.pool_overflow,
            pool_timeout=settings.pool_wait_s,
            pool_recycle=RECYCLE_S,
            hide_parameters=True,
            connect_args={
                **tls,
                "timeout": settings.connect_timeout_s,
                "command_timeout": settings.statement_timeout_s + ANSWER_GRACE_S,
                "server_settings": {
                    "application_name": "rollcall",
                    "statement_timeout": str(math.ceil(settings.statement_timeout_s * 1000)),
                    "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_S * 1000),
                },
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
            may_be_done = False
            try:
                async with self._engine.connect() as connection:
                    transaction = await connection.begin()
                    result = await connection.run_sync(work)
                    may_be_done = True
                    await transaction.commit()
                    return result
            except DBAPIError as error:
                rolled_back = getattr(error.orig, "sqlstate", None) in _RETRYABLE_SQLSTATES
                # The server dropped the connection while it was idle or before the commit was sent.
                undone = error.connection_invalidated and not may_be_done
                if not (rolled_back or undone) or attempt == _WRITE_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")
