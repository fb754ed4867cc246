"""Counts of events' people, faces and arrivals that are not those of the rows: found, and made right."""

from __future__ import annotations

from sqlalchemy import Connection

from serving.database.location import find_sqlite_file
from serving.database.migration import current_revision
from serving.database.migrations import HEAD
from serving.operations.registry_session import open_writing
from serving.registry.event_counts import find_miscounted, hold_counted, recount


async def mend_counts(url: str) -> int:
    """Count the rows anew where a count is wrong; of how many events one was.

    Nothing happens where there is no registry, or one of another release. Whoever writes waits meanwhile.

    Raises:
        BackupError: the database cannot be reached.
    """
    path = find_sqlite_file(url)
    if path is not None and not path.exists():
        return 0
    async with open_writing(url) as session:
        mended = await session.run(_mend)
        await session.commit()
    return mended


def _mend(connection: Connection) -> int:
    if current_revision(connection) != HEAD:
        return 0
    hold_counted(connection)
    miscounted = find_miscounted(connection)
    if miscounted:
        recount(connection)
    return len(miscounted)
