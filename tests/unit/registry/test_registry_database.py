from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.dialects import sqlite

import serving.accounts.tables
import serving.audit.tables
import serving.database
import serving.jobs.tables
from serving.database import Database, migrate, sqlite_url
from serving.database import sqlite as sqlite_module
from serving.database.metadata import metadata
from serving.database.migrations import HEAD
from serving.errors import ConfigurationError, Overloaded, StageUnavailable
from serving.registry import NewFace, Registry, check_ins, events

MIGRATE = """
import asyncio, sys
from serving.database import migrate
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(migrate(sys.argv[1]))
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def start_migration(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MIGRATE, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_revisions(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


async def test_four_processes_migrate_one_empty_database(database_url: str) -> None:
    processes = [start_migration(database_url) for _ in range(4)]
    for each in processes:
        assert each.stdout is not None
        assert await asyncio.to_thread(each.stdout.readline) == "ready\n"
    results = await asyncio.gather(*(asyncio.to_thread(each.communicate, "go\n", 60) for each in processes))
    assert [each.returncode for each in processes] == [0, 0, 0, 0], results
    database = Database(database_url, migrate_on_open=False)
    await database.open()
    assert await database.read(read_revisions) == [HEAD]
    await database.close()


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    statements: list[str] = []

    def remember(connection: object, cursor: object, statement: str, *_: object) -> None:
        statements.append(statement.split()[0].upper())

    sqlalchemy_event.listen(Engine, "before_cursor_execute", remember)
    try:
        await migrate(database_url)
        assert {"CREATE", "INSERT"} <= set(statements)
        statements.clear()
        await migrate(database_url)
    finally:
        sqlalchemy_event.remove(Engine, "before_cursor_execute", remember)
    assert statements
    assert set(statements) <= {"SELECT", "PRAGMA"}


async def test_the_migrations_make_the_tables_that_the_code_declares(database_url: str) -> None:
    assert {"event", "person", "face", "erasure", "account"} <= set(metadata.tables)
    database = Database(database_url)
    await database.open()
    differences = await database.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    await database.close()
    assert differences == []


def test_the_newest_revision_is_the_one_in_the_package() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(serving.database.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_a_database_of_a_newer_release_is_refused(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    await database.write(
        lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")).rowcount
    )
    await database.close()
    with pytest.raises(ConfigurationError, match="cannot be migrated"):
        await Database(database_url).open()


async def test_a_failed_unit_of_work_changes_nothing(registry: Registry, database_url: str) -> None:
    def insert_and_fail(connection: Connection) -> None:
        connection.execute(text("UPDATE event SET name = 'changed'"))
        raise KeyError("on purpose")

    await registry.create_event("gala", "before", "starter")
    database = Database(database_url)
    await database.open()
    with pytest.raises(KeyError, match="on purpose"):
        await database.write(insert_and_fail)
    await database.close()
    assert (await registry.get_event("gala")).name == "before"


async def test_a_closed_database_says_so_and_can_be_opened_again(registry: Registry) -> None:
    await registry.create_event("gala", None, "starter")
    await registry.close()
    await registry.close()
    with pytest.raises(StageUnavailable):
        await registry.get_event("gala")
    await registry.open()
    assert (await registry.get_event("gala")).id == "gala"


@pytest.mark.parametrize(
    "url",
    ["", "gala", "mysql://u:hunter2@h/d", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory"],
)
def test_other_urls_are_refused_without_quoting_them(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@h/d", "postgres://u:hunter2@h/d", "postgresql+psycopg://u:hunter2@h/d"]
)
def test_a_password_is_not_shown(url: str) -> None:
    shown = repr(Database(url))
    assert "hunter2" not in shown
    assert "postgresql+asyncpg" in shown


async def test_a_server_that_is_not_there_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(StageUnavailable):
        await Database("postgresql://u:hunter2@127.0.0.1:9/d").open()
    assert "hunter2" not in caplog.text


async def test_sqlite_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deep" / "rollcall.db"
    registry = Registry(Database(sqlite_url(path)))
    await registry.open()
    await registry.create_event("gala", None, "starter")
    files = sorted(path.parent.iterdir())
    assert {each.name for each in files} == {"rollcall.db", "rollcall.db-shm", "rollcall.db-wal"}
    assert {mode(each) for each in files} == {0o600}
    assert {mode(path.parent), mode(path.parent.parent)} == {0o700}
    await registry.close()


async def test_sqlite_is_set_up_to_keep_what_it_acknowledged(tmp_path: Path) -> None:
    def read_settings(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    database = Database(sqlite_url(tmp_path / "rollcall.db"))
    await database.open()
    full = 2
    for run in (database.read, database.write):
        assert await run(read_settings) == ["wal", full, 1, sqlite_module.BUSY_TIMEOUT_S * 1000]
    await database.close()


async def test_a_held_write_lock_stops_writers_not_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.3)
    registry = Registry(Database(sqlite_url(tmp_path / "rollcall.db")))
    await registry.open()
    created = await registry.create_event("gala", None, "starter")
    other = sqlite3.connect(tmp_path / "rollcall.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE event SET name = 'uncommitted'")
    waiting = asyncio.create_task(registry.begin_enrolment(created.key, "ada", None, [NewFace("f1")]))
    for _ in range(20):
        assert (await registry.get_event("gala")).name is None
    assert len((await registry.list_events()).items) == 1
    with pytest.raises(Overloaded):
        await waiting
    other.execute("ROLLBACK")
    assert (await registry.begin_enrolment(created.key, "ada", None, [NewFace("f1")])).id == "ada"
    other.close()
    await registry.close()


async def test_no_query_scans_beyond_its_event(tmp_path: Path) -> None:
    plans: list[str] = []
    path = tmp_path / "rollcall.db"
    registry = Registry(Database(sqlite_url(path)))
    await registry.open()
    created = await registry.create_event("gala", None, "starter")
    statements: list[str] = []

    def remember(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            statements.append(statement)

    sqlalchemy_event.listen(Engine, "before_cursor_execute", remember)
    try:
        await registry.begin_enrolment(created.key, "ada", "Ada", [NewFace("f1")])
        await registry.finish_enrolment(created.key, "ada", ["f1"])
        await registry.abandon_enrolment(created.key, "ada", ["f1"])
        await registry.get_event("gala")
        await registry.list_events(None, 10)
        await registry.list_people(created.key, None, 10)
        await registry.get_person(created.key, "ada")
        await registry.names_of(created.key, ["ada"])
        await registry.counts(created.key)
        await registry.stale_enrolments(0)
        await registry.erasures.known_faces(created.key, "ada", created.key)
        await registry.deleting_events()
        await registry.delete_person(created.key, "ada")
        await registry.begin_event_deletion("gala")
        await registry.finish_event_deletion(created.key)
        await registry.erasures.due()
        await registry.erasures.finish("0" * 32)
    finally:
        sqlalchemy_event.remove(Engine, "before_cursor_execute", remember)
        await registry.close()
    connection = sqlite3.connect(path)
    for statement in statements:
        parameters = ["x"] * statement.count("?")
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        plans += [f"{row[3]} <- {statement}" for row in rows if row[3].startswith("SCAN")]
    connection.close()
    assert len(statements) > 12
    # Only the listing of what is being deleted reads a whole (partial) index: its few rows are the answer.
    assert [
        plan
        for plan in plans
        if "USING INDEX ix_event_deleting_id" not in plan and "CONSTANT ROW" not in plan
    ] == []


async def test_counting_reads_no_rows_of_people_and_faces(tmp_path: Path) -> None:
    path = tmp_path / "rollcall.db"
    await migrate(sqlite_url(path))
    counting = (events._COUNT, events._LIST, check_ins._COUNT)
    connection = sqlite3.connect(path)
    for statement in counting:
        compiled = statement.compile(dialect=sqlite.dialect())
        arguments = ["x"] * len(compiled.positiontup or ())
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {compiled}", arguments)]
        reading = [step for step in plan if step.startswith(("SEARCH", "SCAN")) and " event " not in step]
        reading = [step for step in reading if "CONSTANT ROW" not in step]
        assert reading == ["SEARCH event_count USING PRIMARY KEY (event_key=?)"] * 2, plan
    connection.close()
