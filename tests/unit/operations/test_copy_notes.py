"""The registry knows of its newest backup and list of erasures, and claims none that is not of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.database import Database, sqlite_url
from serving.database import sqlite as sqlite_module
from serving.database.location import find_sqlite_file
from serving.database.metadata import now_utc
from serving.graph.store_gauges import StoreGauges
from serving.operations.archive import BackupFile
from serving.operations.backing_up import back_up
from serving.operations.backup_keys import add_key
from serving.operations.copy_notes import try_to_note
from serving.operations.doctor.checks import Subject
from serving.operations.registry_session import open_snapshot
from serving.operations.restoring import RestoreOptions, restore
from serving.registry import NewFace, Registry
from serving.registry.last_copies import Kind, LastCopy, read_copies
from serving.telemetry.counting import read_counts, read_key
from tests.chaos.stores import mount_small_disk
from tests.unit.operations.conftest import Data
from tests.unit.operations.doctor_looks import look, worst

MakeData = Callable[..., Data]
NOW = now_utc().replace(microsecond=0)


async def read(url: str) -> dict[Kind, LastCopy]:
    async with open_snapshot(url) as session:
        return await session.run(read_copies)


def told() -> dict[str, float]:
    """What this process counts of copies."""
    counts = {read_key(key)[0]: value for key, value, _ in read_counts()}
    return {name: value for name, value in counts.items() if name.startswith("rollcall_last_")}


async def count_once(url: str) -> dict[str, float]:
    database = Database(url, migrate_on_open=False)
    await database.open()
    try:
        await StoreGauges(database, []).count_once()
    finally:
        await database.close()
    return told()


async def look_around(registry: Registry, _: Database) -> None:
    """Nobody is enrolled."""
    await registry.check()


async def enrol_somebody(registry: Registry, _: Database) -> None:
    created = await registry.create_event("gala", None, "starter")
    await registry.begin_enrolment(created.key, "ann", None, [NewFace("f1")])
    await registry.finish_enrolment(created.key, "ann", ["f1"])


@asynccontextmanager
async def refuse_writes(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """SQLite: somebody holds the write lock; PostgreSQL: sessions may only read."""
    path = find_sqlite_file(url)
    if path is not None:
        monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    connection = await asyncpg.connect(url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    try:
        yield
    finally:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await connection.close()


async def test_the_newest_backup_is_known_and_told_and_no_restore_claims_it(
    make_data: MakeData, database_url: str, safe: Path
) -> None:
    data = make_data("data", database_url=database_url)
    await data.fill(people=2)
    assert await read(database_url) == {}
    never = await count_once(database_url)
    assert never["rollcall_last_backup_timestamp_seconds"] == 0
    assert never["rollcall_last_erasure_list_timestamp_seconds"] == 0

    key = add_key(safe / "keys")
    first = await back_up(data.settings, safe / "first", key=key)
    second = await back_up(data.settings, safe / "second", key=None)
    assert second.note_error is None
    assert first.taken_at < second.taken_at
    note = (await read(database_url))["backup"]
    size = (safe / "second").stat().st_size
    assert note == LastCopy("backup", second.taken_at, size, second.free_bytes, False, 0)
    assert second.free_bytes is not None
    assert second.room_for_more == second.free_bytes // size > 0
    assert await count_once(database_url) == {
        "rollcall_last_backup_timestamp_seconds": second.taken_at.timestamp(),
        "rollcall_last_backup_bytes": size,
        "rollcall_last_backup_free_bytes": second.free_bytes,
        "rollcall_last_backup_encrypted": 0,
        "rollcall_last_backup_missing_faces": 0,
        "rollcall_last_erasure_list_timestamp_seconds": 0,
    }

    # The second was made when the first was known: neither a new place nor the old one takes that over.
    target = make_data("target")
    await restore(target.settings, BackupFile(safe / "second"), RestoreOptions(without_list=True))
    assert await read(target.settings.registry_url) == {}
    await restore(data.settings, BackupFile(safe / "second"), RestoreOptions(without_list=True, replace=True))
    assert await read(database_url) == {}


async def test_a_registry_that_cannot_be_told_makes_no_backup_worse(
    make_data: MakeData, database_url: str, safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data("data", database_url=database_url)
    await data.fill(people=1)
    async with refuse_writes(database_url, monkeypatch):
        report = await back_up(data.settings, safe / "one", key=None)
    assert report.note_error is not None
    assert "registry cannot be used" in report.note_error
    assert BackupFile(safe / "one").verify()["vectors"] == 2
    assert await read(database_url) == {}


async def test_a_registry_that_does_not_answer_is_waited_for_no_longer_than_it_may(
    make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr("serving.operations.copy_notes.NOTE_TIMEOUT_S", 0.2)
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        data = make_data("data", database_url=f"postgresql://nobody@127.0.0.1:{port}/x")
        error = await try_to_note(data.settings, LastCopy("erasures", NOW))
    assert error == "no answer within 0.2 s"


@pytest.fixture
def data_of_commands(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> Data:
    """What commands work on that name no other: one person."""
    data = make_data("data")
    asyncio.run(data.fill(people=1))
    monkeypatch.setenv("ROLLCALL_DATA_DIR", str(data.settings.data_dir))
    monkeypatch.delenv("ROLLCALL_DATABASE_URL", raising=False)
    return data


def test_the_commands_note_what_they_wrote_and_warn_of_what_they_could_not(
    data_of_commands: Data, safe: Path
) -> None:
    """A table that is gone stands for a role that may not write it."""

    def run(*words: str) -> tuple[str, str]:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.stdout, " ".join(done.stderr.split())

    shown = json.loads(run("backup", str(safe / "one"), "--json")[0])
    assert shown["noted"] is True
    assert "could not be told" not in run("erasures", str(safe / "list"))[1]
    notes = asyncio.run(read(data_of_commands.settings.registry_url))
    assert notes["backup"].taken_at.isoformat() == shown["taken_at"]
    assert notes["erasures"].taken_at > notes["backup"].taken_at

    with closing(sqlite3.connect(data_of_commands.settings.data_dir / "registry.sqlite3")) as connection:
        connection.execute("DROP TABLE last_copy")
    assert "could not be told of this backup" in run("backup", str(safe / "two"))[1]
    assert "could not be told of this list" in run("erasures", str(safe / "list"))[1]
    BackupFile(safe / "two").verify()


def test_a_disk_with_little_room_is_told_of(data_of_commands: Data, safe: Path) -> None:
    size = asyncio.run(back_up(data_of_commands.settings, safe / "one", key=None)).size_bytes
    with mount_small_disk(16) as disk:
        backups = disk / "backups"
        backups.mkdir(mode=0o700)
        done = CliRunner().invoke(app, ["backup", str(backups / "roomy")])
        assert (done.exit_code, "has room for" in done.stderr) == (0, False), done.output
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - int(2.5 * size)))
        done = CliRunner().invoke(app, ["backup", str(backups / "tight")])
        assert done.exit_code == 0, done.output
        assert "has room for 1 more of this size" in " ".join(done.stderr.split())
        (disk / "more").write_bytes(bytes(shutil.disk_usage(disk).free))
        done = CliRunner().invoke(app, ["backup", str(backups / "none")])
        assert done.exit_code != 0
        assert sorted(path.name for path in backups.iterdir()) == ["roomy", "tight"]


@pytest.mark.parametrize(
    ("copies", "people", "status", "words"),
    [
        ((), 0, "ok", "nobody is enrolled"),
        ((), 1, "warn", "no backup of this registry was ever made"),
        ((LastCopy("backup", NOW, 2**20, 9, True, 0),), 1, "ok", "UTC, encrypted, 1.0 MiB"),
        ((LastCopy("backup", NOW - timedelta(days=2, hours=1)),), 0, "warn", "more than 2 days ago"),
        ((LastCopy("backup", NOW + timedelta(days=2)),), 0, "warn", "still to come"),
        ((LastCopy("backup", NOW, missing_faces=3),), 1, "warn", "vectors of 3 enrolled faces"),
        ((LastCopy("erasures", NOW - timedelta(hours=2)),), 0, "warn", "list of erasures is of"),
        ((LastCopy("erasures", NOW),), 0, "ok", "nobody is enrolled"),
    ],
)
def test_the_doctor_tells_of_them(
    make_data: MakeData,
    subject: Subject,
    copies: tuple[LastCopy, ...],
    people: int,
    status: str,
    words: str,
) -> None:
    data = make_data("data")
    asyncio.run(data.with_registry(enrol_somebody if people else look_around))
    for copy in copies:
        assert asyncio.run(try_to_note(data.settings, copy)) is None
    row = worst(look("backups", replace(subject, settings=data.settings)))
    assert (row.status, words in row.seen) == (status, True), row


def test_a_clock_that_was_ahead_hides_nothing_for_long(make_data: MakeData) -> None:
    """The note of a backup made after it was put right takes the place of that of the future."""
    data = make_data("data")
    asyncio.run(data.with_registry(look_around))
    for moment in (NOW + timedelta(days=400), NOW):
        assert asyncio.run(try_to_note(data.settings, LastCopy("backup", moment))) is None
    assert asyncio.run(read(data.settings.registry_url))["backup"].taken_at == NOW


def test_a_place_with_nothing_in_it_is_in_order(subject: Subject) -> None:
    assert not Path(sqlite_url(subject.settings.data_dir / "registry.sqlite3")).exists()
    assert [row.seen for row in look("backups", subject)] == ["there is nothing to back up yet"]
