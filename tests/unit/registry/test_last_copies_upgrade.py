"""A database of a release that noted no copies, with an event in it, notes them after the upgrade."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from serving.database import Database
from serving.database.location import parse_url, prepare_file
from serving.database.metadata import now_utc
from serving.database.migration import current_revision, upgrade
from serving.database.migrations import HEAD
from serving.database.sqlite import create_sqlite_engine, run_write
from serving.registry.last_copies import LastCopy, note_copy, read_copies
from serving.registry.totals import count_totals


def fill(connection: Connection) -> None:
    upgrade(connection, "0010")
    connection.execute(
        text("INSERT INTO event (key, id, pack_id, created_at, state) VALUES ('k', 'e', 'p', :now, 'open')"),
        {"now": now_utc().replace(tzinfo=None) if connection.dialect.name == "sqlite" else now_utc()},
    )


async def test_copies_are_noted_after_the_upgrade(database_url: str) -> None:
    url = parse_url(database_url)
    if url.get_backend_name() == "sqlite":
        prepare_file(Path(str(url.database)))
        engine = create_sqlite_engine(url, pool_size=1)
        run_write(engine, fill)
        engine.dispose()
    else:
        remote = create_async_engine(url)
        async with remote.begin() as connection:
            await connection.run_sync(fill)
        await remote.dispose()
    database = Database(database_url)
    await database.open()
    try:
        assert await database.read(current_revision) == HEAD
        assert (await database.read(count_totals)).events == 1
        assert await database.read(read_copies) == {}
        copies = [LastCopy("backup", now_utc(), 2**40, 2**41, True, 7), LastCopy("erasures", now_utc())]
        for copy in (LastCopy("backup", now_utc()), *copies):
            await database.write(note_copy, copy)
        assert await database.read(read_copies) == {copy.kind: copy for copy in copies}
    finally:
        await database.close()
