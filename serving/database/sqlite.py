"""SQLite: whole transactions run in a thread of ours, one hop per call; look-ups run where they are called.

An asyncio driver hops to a thread for every statement, and a busy event loop would then hold the write
lock, which all processes share, between them. Here a write transaction is as long as its SQL.

A hop costs some 200 us, a look-up by primary key 35 us, most of it under the interpreter lock, which stalls
the event loop from any thread. WAL readers wait for nobody, so the hop would buy nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from serving.database.compaction import compact_if_due
from serving.database.location import prepare_file

T = TypeVar("T")

BUSY_TIMEOUT_S = 20.0
LOOKUP_BUSY_TIMEOUT_MS = 20
READER_THREADS = 2
_IMMEDIATE = "rollcall_immediate"


def create_sqlite_engine(url: URL, pool_size: int) -> Engine:
    """An engine whose writes begin with BEGIN IMMEDIATE and whose reads are bare statements."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, freed pages included
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_IMMEDIATE):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def run_write(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run the work in one transaction that owns the write lock from its first statement."""
    with engine.connect().execution_options(**{_IMMEDIATE: True}) as connection, connection.begin():
        return work(connection)


def run_read(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run the work, each statement on its own snapshot; it neither waits for writers nor holds them up."""
    with engine.connect() as connection:
        return work(connection)


def enable_wal(path: Path) -> None:
    """Switch the file to WAL, which it then stays in.

    The switch needs the file for itself and does not honour the busy timeout, hence the retries while
    other processes start.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                    return
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


class SqliteBackend:
    """One file, one writing thread and a few reading ones in this process."""

    def __init__(self, url: URL) -> None:
        assert url.database is not None
        self._path = Path(url.database)
        self._engine = create_sqlite_engine(url, pool_size=READER_THREADS + 2)
        self._lookups: Connection | None = None
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="registry-read")
        # Writers of one process queue here, so that only those of different processes poll for the lock.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="registry-write")

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, prepare_file, self._path)
        await loop.run_in_executor(self._writer, enable_wal, self._path)
        self._lookups = self._engine.connect()
        self._lookups.exec_driver_sql(f"PRAGMA busy_timeout={LOOKUP_BUSY_TIMEOUT_MS}")

    async def close(self) -> None:
        if self._lookups is not None:
            self._lookups.invalidate()
            self._lookups.close()
            self._lookups = None
        await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()

    async def look_up(self, work: Callable[[Connection], T]) -> T:
        if self._lookups is not None:
            with contextlib.suppress(OperationalError):
                return work(self._lookups)
        return await self.read(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, partial(run_read, self._engine, work))

    async def compact(self) -> None:
        """See `compaction.compact_if_due`; writers of this process wait for it."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, compact_if_due, self._path)

    async def write(self, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, partial(run_write, self._engine, work))
