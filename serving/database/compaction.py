"""Taking the bytes of what was erased out of an SQLite file and its log.

`secure_delete` overwrites a deleted row, but copies stay where pages were rebalanced, and whole old pages in
the write-ahead log. VACUUM writes the file anew and a truncating checkpoint empties the log.

A reader that holds one snapshot throughout, as a backup does, keeps the log from being emptied, and a
checkpoint that waits for it keeps all writers out. Hence the log is emptied before anything is rewritten,
without waiting, and the whole is put off where that fails.

VACUUM writes the file anew in a temporary one first, which belongs on the disk whose encryption is the data's
own. SQLite reads SQLITE_TMPDIR once, when its library is loaded, so a process of its own does the work: this
file run as a script, which is why it imports nothing of Rollcall.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

COMPACT_AFTER_S = 3600.0
"""How long after an erasure its bytes may stay, as in the embedded gallery: many share one rewrite."""
LOCK_WAIT_S = 20.0
PROBE_S = 1.0
"""How long the log may refuse to be emptied before a rewrite; no try of these holds anybody up."""
LAST_CHECKPOINT_S = 1.0
"""How long writers may be kept out while the log is emptied after a rewrite: far below their own limit."""
RETRY_S = 600.0
"""Pause of all processes after a failed attempt, which held up writers for nothing."""
COMPACTION_LIMIT_S = 600.0
"""After this the process that compacts is ended, which leaves the file as it was."""

_PROBE_PAUSE_S = 0.02


def compact_if_due(path: Path, after_s: float = COMPACT_AFTER_S) -> bool:
    """Compact the file if something was erased `after_s` seconds ago or longer, and not compacted since.

    When that was stands in the file's `user_version` (Unix seconds; SQLite leaves it to applications), so
    that it survives restarts and counts for all processes. One process at a time tries, and none within
    RETRY_S of a failure. Writers wait meanwhile, readers do not.

    Returns:
        Whether it was compacted.

    Raises:
        sqlite3.Error: it could not be, for instance because a backup is reading; a call after RETRY_S tries
            again.
    """
    if not _is_due(path, after_s):
        return False
    with _take_turn(path) as turn:
        # Asked again: another process may have done it just before the turn was had.
        if turn is None or _failed_lately(turn) or not _is_due(path, after_s):
            return False
        try:
            _run_apart(path, turn)
        except sqlite3.Error:
            turn.write(str(int(time.time())).encode())
            raise
    return True


def compact_file(path: Path) -> None:
    """Compact the file now.

    Raises:
        sqlite3.Error: it could not be.
    """
    _run_apart(path)


def _is_due(path: Path, after_s: float) -> bool:
    limit = datetime.now(timezone.utc) - timedelta(seconds=after_s)
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as connection:
        latest = connection.execute(
            "SELECT max(erased_at) FROM erased_subject WHERE erased_at <= ?",
            (limit.replace(tzinfo=None).isoformat(sep=" "),),
        ).fetchone()[0]
        if latest is None:
            return False
        erased_at_s = datetime.fromisoformat(latest).replace(tzinfo=timezone.utc).timestamp()
        return bool(erased_at_s >= connection.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def _take_turn(path: Path) -> Iterator[BinaryIO | None]:
    """The locked file beside the database that holds when an attempt failed; None while another has it."""
    beside = path.with_name(f"{path.name}-compaction")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield file


def _failed_lately(turn: BinaryIO) -> bool:
    """Whether an attempt failed within RETRY_S; forgets it where not."""
    noted = turn.read()
    # A clock that was put back must not put it off for longer.
    if noted.isdigit() and abs(time.time() - int(noted)) < RETRY_S:
        return True
    turn.truncate(0)
    return False


def _run_apart(path: Path, turn: BinaryIO | None = None) -> None:
    """Compact in a process of its own, which keeps the turn should this one die."""
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", __file__, str(path)],
            env={"SQLITE_TMPDIR": str(path.parent), **os.environ},
            pass_fds=() if turn is None else (turn.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=COMPACTION_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise sqlite3.OperationalError(f"compaction took more than {COMPACTION_LIMIT_S:g} s") from None
    except OSError as error:
        raise sqlite3.OperationalError(f"compaction cannot be started: {error}") from None
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise sqlite3.OperationalError(words or f"compaction ended with {done.returncode}")


def _compact(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as connection:
        began_s = int(time.time())
        connection.execute("PRAGMA secure_delete=ON")
        _empty_log_unwaiting(connection)
        _set_wait(connection, LOCK_WAIT_S)
        connection.execute("VACUUM")
        _set_wait(connection, LAST_CHECKPOINT_S)
        if not _empty_log(connection):
            raise sqlite3.OperationalError("database is busy: readers hold the log")
        connection.execute(f"PRAGMA user_version={began_s}")


def _empty_log_unwaiting(connection: sqlite3.Connection) -> None:
    """Empty the log between the short reads and writes of others; raises sqlite3.Error where one stays."""
    _set_wait(connection, 0.0)
    deadline_s = time.monotonic() + PROBE_S
    while not _empty_log(connection):
        if time.monotonic() > deadline_s:
            raise sqlite3.OperationalError("database is busy: a reader holds the log; compaction is put off")
        time.sleep(_PROBE_PAUSE_S)


def _empty_log(connection: sqlite3.Connection) -> bool:
    return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]


def _set_wait(connection: sqlite3.Connection, wait_s: float) -> None:
    connection.execute(f"PRAGMA busy_timeout={int(wait_s * 1000)}")


if __name__ == "__main__":
    try:
        _compact(Path(sys.argv[1]))
    except sqlite3.Error as error:
        sys.exit(str(error))
