"""Taking the bytes of what was erased out of an SQLite file and its log.

`secure_delete` overwrites a deleted row, but copies stay where pages were rebalanced, and whole old pages in
the write-ahead log. VACUUM writes the file anew and a truncating checkpoint empties the log.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

COMPACT_AFTER_S = 3600.0
"""How long after an erasure its bytes may stay, as in the embedded gallery: many share one rewrite."""
LOCK_WAIT_S = 20.0
RETRY_S = 600.0
"""Pause after a failed attempt, which held up writers for nothing."""

_failed_at_s: dict[Path, float] = {}


def compact_if_due(path: Path, after_s: float = COMPACT_AFTER_S) -> bool:
    """Compact the file if something was erased `after_s` seconds ago or longer, and not compacted since.

    When that was stands in the file's `user_version` (Unix seconds; SQLite leaves it to applications), so
    that it survives restarts and counts for all processes. Writers wait meanwhile, readers do not.

    Returns:
        Whether it was compacted.

    Raises:
        sqlite3.Error: it could not be; the next call after RETRY_S tries again.
    """
    if time.monotonic() - _failed_at_s.get(path, float("-inf")) < RETRY_S:
        return False
    limit = datetime.now(timezone.utc) - timedelta(seconds=after_s)
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as connection:
        latest = connection.execute(
            "SELECT max(erased_at) FROM erased_subject WHERE erased_at <= ?",
            (limit.replace(tzinfo=None).isoformat(sep=" "),),
        ).fetchone()[0]
        if latest is None:
            return False
        erased_at_s = datetime.fromisoformat(latest).replace(tzinfo=timezone.utc).timestamp()
        if erased_at_s < connection.execute("PRAGMA user_version").fetchone()[0]:
            return False
        try:
            _compact(connection, path)
        except sqlite3.Error:
            _failed_at_s[path] = time.monotonic()
            raise
    return True


def compact_file(path: Path) -> None:
    """Compact the file now.

    Raises:
        sqlite3.Error: it could not be.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as connection:
        _compact(connection, path)


def _compact(connection: sqlite3.Connection, path: Path) -> None:
    began_s = int(time.time())
    connection.execute("PRAGMA secure_delete=ON")
    # The file is written anew in a temporary one first: on the disk whose encryption is the data's own.
    quoted = str(path.parent).replace("'", "''")
    connection.execute(f"PRAGMA temp_store_directory='{quoted}'")
    connection.execute("VACUUM")
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("database is busy: readers hold the log")
    connection.execute(f"PRAGMA user_version={began_s}")
