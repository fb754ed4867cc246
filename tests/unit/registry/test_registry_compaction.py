"""Compacting the SQLite file beside readers, writers and other processes."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from serving.database import Database, compaction, sqlite_url

ERASED = b"Zdenka-7f3a91-erased"
WRITER_WAIT_S = 10.0
"""Half of what the service's own writers wait."""


@pytest.fixture
async def registry(tmp_path: Path) -> Path:
    """A file of some megabytes, half of it free, in which an erasure is long due."""
    path = tmp_path / "data" / "registry.sqlite3"
    database = Database(sqlite_url(path))
    await database.open()
    await database.close()
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE filling (content)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO filling VALUES (?)", [(ERASED * 200,)] * 2000)
        connection.execute("COMMIT")
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("DELETE FROM filling WHERE rowid % 2")
        connection.execute("UPDATE filling SET content = zeroblob(4000)")
        connection.execute(
            "INSERT INTO erased_subject VALUES (?, '2020-01-01 00:00:00.000000')", (b"1" * 32,)
        )
    return path


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=WRITER_WAIT_S, isolation_level=None)


def free_pages(path: Path) -> int:
    with closing(connect(path)) as connection:
        return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def holds_erased(path: Path) -> bool:
    return any(ERASED in each.read_bytes() for each in path.parent.iterdir())


def test_a_reader_puts_it_off_and_no_writer_waits(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert holds_erased(registry)
    with closing(connect(registry)) as reader, closing(connect(registry)) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM filling").fetchone()
        outcome: list[object] = []

        def compact() -> None:
            try:
                outcome.append(compaction.compact_if_due(registry))
            except sqlite3.Error as error:
                outcome.append(error)

        attempt = threading.Thread(target=compact)
        attempt.start()
        while attempt.is_alive():
            writer.execute("INSERT INTO filling VALUES ('as usual')")  # raises where it is kept out
            time.sleep(0.01)
        attempt.join()
        assert isinstance(outcome[0], sqlite3.OperationalError)
        assert "busy" in str(outcome[0])
        assert free_pages(registry) > 0, "it gave up before it rewrote anything"

        # Another process knows of the failure and does not try.
        call = f"compact_if_due(Path({str(registry)!r}))"
        code = f"from pathlib import Path; from serving.database.compaction import *; print({call})"
        there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (there.stdout.strip(), there.returncode) == ("False", 0), there.stderr

    assert not compaction.compact_if_due(registry), "within the pause"
    monkeypatch.setattr(compaction, "RETRY_S", 0.0)
    assert compaction.compact_if_due(registry)
    assert not holds_erased(registry)
    assert free_pages(registry) == 0
    assert not compaction.compact_if_due(registry), "nothing is due any more"


def test_one_process_tries(registry: Path) -> None:
    with (registry.parent / f"{registry.name}-compaction").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not compaction.compact_if_due(registry)
        assert free_pages(registry) > 0
    assert compaction.compact_if_due(registry)


def test_temporary_files_lie_beside_the_database(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.delenv("SQLITE_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    with closing(connect(registry)) as held:  # so that -wal and -shm stay where they are
        held.execute("SELECT count(*) FROM filling").fetchone()
        for directory in (registry.parent, elsewhere):
            os.utime(directory, (1, 1))
        compaction.compact_file(registry)
        assert registry.parent.stat().st_mtime > 1
        assert elsewhere.stat().st_mtime == 1
        [row] = held.execute("PRAGMA temp_store_directory").fetchall() or [("",)]
        assert row == ("",), "which would be every thread's"
