"""The database as the rest of the service sees it: open, read, write, close."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from serving.database.faults import translate_fault, translate_opening_fault
from serving.database.location import parse_url
from serving.database.migration import migrate
from serving.database.postgres import PostgresBackend
from serving.database.sqlite import SqliteBackend
from serving.errors import DeadlineExceeded, Overloaded, RollcallError, StageUnavailable
from serving.settings.stores import DatabaseSettings
from serving.telemetry import recording

OUTAGES = (Overloaded, StageUnavailable, DeadlineExceeded)

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """Runs units of work: plain functions of a SQLAlchemy connection, the writing ones in a transaction.

    A unit of work may run more than once (a deadlock is retried) and may run in a thread, so it touches
    nothing but its connection and its arguments. A Database belongs to the event loop that opened it.

    Args:
        url: `sqlite:////path/to/file` or `postgresql://user:password@host/name`.
        settings: pool and time limits of PostgreSQL; None: the defaults.
        migrate_on_open: bring the tables up to date in `open`; safe when many processes open at once.

    Raises:
        ConfigurationError: the URL is not one of the two forms.
    """

    def __init__(
        self, url: str, settings: DatabaseSettings | None = None, *, migrate_on_open: bool = True
    ) -> None:
        self._url = url
        self._settings = settings or DatabaseSettings()
        self._parsed = parse_url(url)
        self._migrate_on_open = migrate_on_open
        self._backend: SqliteBackend | PostgresBackend | None = None
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Database({self._parsed.render_as_string(hide_password=True)!r})"

    async def open(self) -> None:
        """Connect and migrate; nothing happens when it is open.

        Raises:
            StageUnavailable: the server does not answer.
            ConfigurationError: the tables belong to a newer release, or the server's certificate
                is not trusted.
        """
        async with self._opening:
            if self._backend is not None:
                return
            try:
                if self._migrate_on_open:
                    await migrate(self._url)
                sqlite = self._parsed.get_backend_name() == "sqlite"
                backend = (
                    SqliteBackend(self._parsed) if sqlite else PostgresBackend(self._parsed, self._settings)
                )
                await backend.open()
            except Exception as error:
                raise translate_opening_fault(error) from error
            self._backend = backend

    async def close(self) -> None:
        """Finish what runs and let go of the connections; nothing happens when it is closed."""
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()

    async def look_up(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `read`, for a few rows by primary key: on SQLite it runs in the calling thread.

        Raises:
            StageUnavailable: the database cannot be reached.
        """
        return await _measured("look_up", self._opened().look_up(partial(_call, work, args, kwargs)))

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a unit of work of SELECTs, each on its own snapshot: there is no transaction around them.

        Raises:
            StageUnavailable: the database cannot be reached.
        """
        return await _measured("read", self._opened().read(partial(_call, work, args, kwargs)))

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a unit of work in one transaction and return once it is on disk.

        Raises:
            Overloaded: the write lock did not come free in time.
            StageUnavailable: the database cannot be reached.
        """
        return await _measured("write", self._opened().write(partial(_call, work, args, kwargs)))

    async def compact(self) -> None:
        """Take the bytes of what was erased long enough ago out of the files, where the files are ours.

        Raises:
            Overloaded, StageUnavailable: it could not be done now.
        """
        await _measured("compact", self._opened().compact())

    def _opened(self) -> SqliteBackend | PostgresBackend:
        if self._backend is None:
            raise StageUnavailable("The database is not open.")
        return self._backend


async def _measured(operation: str, work: Awaitable[T]) -> T:
    """What `work` returns; how long it took is counted, and whether the database failed."""
    began = time.perf_counter()
    has_failed = False
    try:
        return await work
    except Exception as error:
        shown = translate_fault(error)
        has_failed = isinstance(shown, OUTAGES) or not isinstance(shown, RollcallError)
        raise shown from error
    finally:
        recording.note_database(operation, time.perf_counter() - began, failed=has_failed)


def _call(
    work: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object], connection: Connection
) -> T:
    return work(connection, *args, **kwargs)
