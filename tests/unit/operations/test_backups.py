"""Backups: everything comes back, on either engine; nothing damaged is accepted; nobody erased returns."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from serving.accounts.accounts import Accounts
from serving.audit.records import AuditEntry
from serving.audit.store import add_entries
from serving.database import Database
from serving.database.metadata import now_utc
from serving.errors import BackupError, RestoreRefused, UnknownPerson
from serving.operations import archive, backing_up, registry_rows, running_service
from serving.operations.archive import BackupFile
from serving.operations.backing_up import back_up
from serving.operations.backup_keys import add_key, read_keys
from serving.operations.erasure_list import read_erased, read_list, write_list
from serving.operations.registry_session import open_snapshot
from serving.operations.restoring import RestoreOptions, restore
from serving.operations.service_note import ServiceNote, remove_note, write_note
from serving.registry import Counts, Registry
from serving.registry.event_counts import find_miscounted
from tests.unit.operations.conftest import Data

MakeData = Callable[..., Data]
NO_LIST = RestoreOptions(without_list=True)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows are several pages and parts."""
    monkeypatch.setattr(archive, "PART_BYTES", 1500)
    monkeypatch.setattr(registry_rows, "PAGE_ROWS", 3)
    monkeypatch.setattr(backing_up, "MAX_PAGE_FACES", 3, raising=False)


async def read_all(url: str) -> dict[str, list[dict[str, Any]]]:
    async with open_snapshot(url) as session:
        found = {}
        for each in registry_rows.all_tables():
            rows, after = [], None
            while page := await session.run(registry_rows.read_page, each, after):
                rows += page
                after = registry_rows.key_of(each, page[-1])
            found[each.name] = rows
        return found


async def add_erasure(data: Data, key: str, person: str) -> None:
    gallery = data.open_gallery()
    try:
        await gallery.erase_person(key, person)
    finally:
        await gallery.close()
    await data.with_registry(lambda registry, _: registry.delete_person(key, person))


async def test_everything_comes_back_on_either_engine(
    make_data: MakeData, database_url: str, safe: Path
) -> None:
    """From SQLite, to SQLite and to PostgreSQL; and from there to SQLite once more."""
    encrypted = database_url.startswith("sqlite")
    source = make_data("source")
    key = await source.fill(people=5)
    await source.fill(people=1, event="other")
    backup_key = add_key(safe / "keys") if encrypted else None
    report = await back_up(source.settings, safe, key=backup_key)
    assert (report.vectors, report.rows["person"], report.rows["face"], report.missing_count) == (
        12,
        6,
        12,
        0,
    )
    assert stat.S_IMODE(report.path.stat().st_mode) == 0o600
    assert [name for name in os.listdir(safe) if "partial" in name] == []
    plain = report.path.read_bytes()
    assert (b"registry/person" in plain) != encrypted
    keys = read_keys(safe / "keys") if encrypted else []

    before = await read_all(source.settings.registry_url)
    target = make_data("target", database_url=database_url)
    restored = await restore(target.settings, BackupFile(report.path, keys), NO_LIST)
    assert restored.vectors == 12
    assert await read_all(database_url) == before
    assert await target.find(key, "f3b") == "p3"
    pem = (target.settings.keys_dir / "signing-000001.pem").read_bytes()
    assert pem == (source.settings.keys_dir / "signing-000001.pem").read_bytes()

    async def go_on(registry: Registry, database: Database) -> None:
        # Numbers of new rows lie behind those restored.
        await database.write(add_entries, [AuditEntry("service", "people.delete")])
        assert (await registry.get_person(key, "p1")).metadata == {"seat": 1.5, "vip": True}
        assert (await Accounts(database).find("ada@example.org")) is not None
        assert await database.read(find_miscounted) == []
        assert await registry.counts(key) == Counts(5, 10)
        await registry.delete_person(key, "p4")
        assert await registry.counts(key) == Counts(4, 8)

    await target.with_registry(go_on)
    again = await back_up(target.settings, safe / "again", key=None)
    third = make_data("third")
    await restore(third.settings, BackupFile(again.path), NO_LIST)
    assert await read_all(third.settings.registry_url) == await read_all(database_url)
    assert await third.find(key, "f0a") == "p0"


async def test_what_is_damaged_is_refused_and_changes_nothing(make_data: MakeData, safe: Path) -> None:
    source = make_data("source")
    await source.fill()
    key = add_key(safe / "keys")
    plain = (await back_up(source.settings, safe / "plain", key=None)).path
    sealed = (await back_up(source.settings, safe / "sealed", key=key)).path
    for path, keys in ((plain, []), (sealed, [key])):
        whole = path.read_bytes()
        # A tar has padding, in which a changed bit harms nobody: of it the parts' own bytes are changed.
        parts = [found.start() for found in re.finditer(rb"\x1f\x8b\x08", whole)]
        places = [at + 30 for at in parts] or [20, 60, len(whole) // 2, len(whole) - 1]
        flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
        cut = [whole[: len(whole) // 2], whole[: -1 if keys else -12_000], b""]
        for number, content in enumerate([*flipped, *cut]):
            bad = safe / f"bad{number}"
            bad.write_bytes(content)
            target = make_data(f"target{number}{len(keys)}")
            with pytest.raises(BackupError):
                await restore(target.settings, BackupFile(bad, keys), NO_LIST)
            assert not target.settings.data_dir.exists()
    with pytest.raises(BackupError, match="is not in the key file"):
        BackupFile(sealed, [add_key(safe / "other")]).verify()
    with pytest.raises(BackupError, match="is encrypted"):
        BackupFile(sealed)


async def test_who_was_erased_since_does_not_come_back(make_data: MakeData, safe: Path) -> None:
    """By a list, by what the replaced registry remembers; enrolled anew under the same id they stay."""
    data = make_data("data")
    key = await data.fill(people=4)
    doomed = await data.fill(people=2, event="doomed")
    backup = BackupFile((await back_up(data.settings, safe / "one", key=None)).path)
    await add_erasure(data, key, "p1")
    await data.with_registry(lambda registry, _: registry.begin_event_deletion("doomed"))
    await data.with_registry(lambda registry, _: registry.delete_face(key, "p2", "f2a"))
    account = await data.with_registry(lambda _, database: Accounts(database).create("bob@example.org"))

    async with open_snapshot(data.settings.registry_url) as session:
        erased = await session.run(read_erased)
    assert b"p1" not in dump_list(safe / "list", erased)
    target = make_data("target")
    with pytest.raises(RestoreRefused, match="--erase-since"):
        await restore(target.settings, backup, RestoreOptions())
    early = safe / "early"
    write_list(early, {}, now_utc() - timedelta(days=1))
    with pytest.raises(RestoreRefused, match="before the backup"):
        await restore(target.settings, backup, RestoreOptions(erasures=[read_list(early)]))
    options = RestoreOptions(erasures=[read_list(safe / "list")])
    report = await restore(target.settings, backup, options)
    assert report.vectors == 5  # of 12: less p1's two, the event's four, one face of p2
    assert report.passed_over["event"] == 1
    for face, person in (("f0a", "p0"), ("f1a", None), ("f2a", None), ("f2b", "p2")):
        assert await target.find(key, face) == person
    assert await target.find(doomed, "f0a") is None

    async def check(registry: Registry, database: Database) -> None:
        with pytest.raises(UnknownPerson):
            await registry.get_person(key, "p1")
        assert await database.read(read_erased) == erased

    await target.with_registry(check)
    # The registry that is replaced knows by itself, and the account made since is gone with it.
    report = await restore(data.settings, backup, RestoreOptions(replace=True))
    assert (report.vectors, await data.find(key, "f1a"), await data.find(key, "f0b")) == (5, None, "p0")
    assert account is not None

    # Enrolled anew after the erasure, then backed up: the old erasure takes nothing away.
    gallery = data.open_gallery()
    await data.with_registry(lambda registry, _: data.enrol(registry, gallery, key, "p1", ["f1a"], "Ann"))
    await gallery.close()
    newer = BackupFile((await back_up(data.settings, safe / "two", key=None)).path)
    third = make_data("third")
    write_list(safe / "later", erased)
    await restore(third.settings, newer, RestoreOptions(erasures=[read_list(safe / "later")]))
    assert await third.find(key, "f1a") == "p1"


def dump_list(path: Path, erased: Any) -> bytes:
    write_list(path, erased)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_bytes()


async def test_what_happens_while_it_runs(make_data: MakeData, safe: Path, monkeypatch: Any) -> None:
    """Enrolled meanwhile: not in it. Erased meanwhile: not in it, and known to it. Lost: told."""
    data = make_data("data")
    key = await data.fill(people=4)
    gallery = data.open_gallery()
    await gallery.erase_faces(key, [("p3", "f3b")])  # behind the registry's back
    await gallery.close()
    real = backing_up.find_places

    def interfere(connection: Connection) -> Any:
        interfering.append(True)
        return real(connection)

    interfering: list[bool] = []
    opened = backing_up.Galleries.open

    async def open_late(self: Any, pack_id: str, **options: Any) -> Any:
        found = await opened(self, pack_id, **options)
        if interfering:
            interfering.clear()
            await data.with_registry(
                lambda registry, _: data.enrol(registry, found, key, "new", ["fn"], "New")
            )
            await found.erase_person(key, "p1")
            await data.with_registry(lambda registry, _: registry.delete_person(key, "p1"))
        return found

    monkeypatch.setattr(backing_up, "find_places", interfere)
    monkeypatch.setattr(backing_up.Galleries, "open", open_late)
    report = await back_up(data.settings, safe, key=None)
    assert (report.enrolled_meanwhile, report.erased_meanwhile) == (1, 1)
    assert report.missing == [(key, "p3", "f3b")]
    assert (report.vectors, report.rows["person"]) == (5, 3)
    target = make_data("target")
    await restore(target.settings, BackupFile(report.path), NO_LIST)
    assert [await target.find(key, face) for face in ("f0a", "f1a", "fn")] == ["p0", None, None]


async def test_where_a_backup_may_lie(make_data: MakeData, tmp_path: Path, safe: Path) -> None:
    data = make_data("data")
    await data.fill(people=1)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    with pytest.raises(BackupError, match="chmod 700"):
        await back_up(data.settings, shared, key=None)
    key = add_key(safe / "keys")
    assert (await back_up(data.settings, shared / "b", key=key)).path.exists()
    with pytest.raises(BackupError, match="there already"):
        await back_up(data.settings, shared / "b", key=key)
    (safe / "keys").chmod(0o644)
    with pytest.raises(BackupError, match="chmod 600"):
        read_keys(safe / "keys")
    assert {path.name for path in shared.iterdir()} == {"b"}
    with pytest.raises(BackupError, match="no registry"):
        await back_up(make_data("nothing").settings, safe, key=None)


async def test_a_key_file_holds_several_keys_and_the_last_encrypts(make_data: MakeData, safe: Path) -> None:
    data = make_data("data")
    await data.fill(people=1)
    old = add_key(safe / "keys")
    path = (await back_up(data.settings, safe / "old", key=old)).path
    new = add_key(safe / "keys")
    keys = read_keys(safe / "keys")
    assert [each.id for each in keys] == [old.id, new.id]
    assert old.secret.hex() not in repr(keys)
    BackupFile(path, keys).verify()
    assert os.stat(safe / "keys").st_mode & 0o777 == 0o600


async def test_a_target_that_is_in_use_or_filled_is_refused(
    make_data: MakeData, safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_data("source")
    key = await source.fill(people=2)
    backup = BackupFile((await back_up(source.settings, safe, key=None)).path)
    target = make_data("target")
    await target.fill(people=1, event="mine")
    with pytest.raises(RestoreRefused, match="not empty"):
        await restore(target.settings, backup, RestoreOptions(without_list=True, with_keys=False))
    write_note(target.settings.data_dir, ServiceNote(os.getpid(), "http://127.0.0.1:1", "127.0.0.1:1"))
    monkeypatch.setattr(running_service, "END_WAIT_S", 0.1)
    with pytest.raises(RestoreRefused, match="stop the service first"):
        await restore(target.settings, backup, RestoreOptions(replace=True, without_list=True))
    remove_note(target.settings.data_dir, os.getpid())
    await restore(target.settings, backup, RestoreOptions(replace=True, without_list=True))
    assert await target.find(key, "f1a") == "p1"
    gallery = target.open_gallery()
    assert (await gallery.check()).faces == 4  # those of the event that was there are gone
    await gallery.close()


async def test_an_old_backup_is_brought_up_to_date(
    make_data: MakeData, database_url: str, safe: Path
) -> None:
    """One of a release with fewer tables and columns goes through the upgrade; a newer one is refused."""
    source = make_data("source")
    key = await source.fill(people=2)
    path = (await back_up(source.settings, safe / "new", key=None)).path
    dropped = {"erased_subject": None, "event_statistics": "spoofs", "event": "liveness"}
    old = _rewrite(path, safe / "old", "0007", dropped)
    target = make_data("target", database_url=database_url)
    await restore(target.settings, BackupFile(old), NO_LIST)
    assert await target.find(key, "f1b") == "p1"
    found = await target.with_registry(lambda registry, _: registry.get_event("gala"))
    assert (found.threshold, found.liveness) == (0.5, None)
    newer = _rewrite(path, safe / "newer", "9999", {})
    with pytest.raises(RestoreRefused, match="or newer"):
        await restore(make_data("third").settings, BackupFile(newer), NO_LIST)


def _rewrite(path: Path, target: Path, revision: str, dropped: dict[str, str | None]) -> Path:
    """The same backup as an older release would have written it."""
    file = BackupFile(path)
    header = file.read_header()
    header["revision"] = revision
    for table, column in dropped.items():
        if column is None:
            del header["tables"][table]
        else:
            del header["tables"][table][column]
    facts: dict[str, Any] = {}
    with target.open("wb") as out:
        writer = archive.BackupWriter(out, None, {k: v for k, v in header.items() if k != "format"})
        for part in file.parts():
            if part.name == archive.MANIFEST:
                manifest = json.loads(part.data)
                facts = {"rows": manifest["rows"], "vectors": manifest["vectors"]}
            elif part.name.startswith("registry/"):
                name = part.name.split("/")[1]
                if dropped.get(name, "") is None:
                    continue
                rows = archive.RowsWriter(writer, part.name.removesuffix(".ndjson.gz"))
                for row in archive.read_rows(part):
                    row.pop(dropped.get(name), None)
                    rows.add(row)
                rows.flush()
            elif part.name != archive.HEADER:
                rows_in = sum(1 for _ in archive.read_rows(part)) if part.name.endswith(".gz") else 0
                writer.add(part.name, part.data, rows_in)
        writer.finish(facts)
    return target


async def test_unfinished_enrolments_and_jobs_do_not_come_back_half(make_data: MakeData, safe: Path) -> None:
    data = make_data("data")
    key = await data.fill(people=1)

    async def begin(registry: Registry, database: Database) -> None:
        from serving.registry.records import NewFace

        await registry.begin_enrolment(key, "half", "Half", [NewFace("h1")])
        await database.write(
            lambda connection: connection.execute(
                text(
                    "INSERT INTO job (id, event_key, kind, state, created_by, created_at, options, file,"
                    f" done, rejected) VALUES ('j1', '{key}', 'import_pictures', 'running', 'ada',"
                    " '2026-01-01 00:00:00', '{}', 'x.upload', 0, 0)"
                )
            )
        )

    await data.with_registry(begin)
    backup = BackupFile((await back_up(data.settings, safe, key=None)).path)
    target = make_data("target")
    await restore(target.settings, backup, NO_LIST)
    rows = await read_all(target.settings.registry_url)
    assert [row["id"] for row in rows["person"]] == ["p0"]
    [job] = rows["job"]
    assert (job["state"], job["file"], job["error_code"]) == ("failed", None, "backup_error")
