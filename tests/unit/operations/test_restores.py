"""What a restore must not bring back, must not overwrite, and must not leave half done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from serving.accounts.keys import KeyRing
from serving.database.metadata import now_utc
from serving.errors import RestoreRefused
from serving.operations import backing_up, restoring
from serving.operations.archive import BackupFile
from serving.operations.backing_up import back_up
from serving.operations.erasure_list import read_erased
from serving.operations.registry_session import open_writing
from serving.operations.restoring import RestoreOptions, _complete, restore
from tests.unit.operations.conftest import Data

MakeData = Callable[..., Data]
NO_LIST = RestoreOptions(without_list=True)


async def test_who_is_erased_after_the_vectors_were_read_leaves_none(
    make_data: MakeData, safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person, a face, an event, whose vectors are in the backup and whose rows no longer are."""
    data = make_data("data")
    key = await data.fill(people=3)
    doomed = await data.fill(people=1, event="doomed")

    async def erase(registry: Any, _: Any) -> None:
        await registry.delete_person(key, "p1")
        await registry.delete_face(key, "p2", "f2a")
        await registry.begin_event_deletion("doomed")

    async def find_erased(self: Any, taken_at: Any) -> Any:
        await data.with_registry(erase)
        return await real(self, taken_at)

    real = backing_up._Writing._find_erased
    monkeypatch.setattr(backing_up._Writing, "_find_erased", find_erased)
    report = await back_up(data.settings, safe, key=None)
    assert (report.vectors, report.rows["face"], report.erased_meanwhile) == (8, 3, 3)
    target = make_data("target")
    restored = await restore(target.settings, BackupFile(report.path), NO_LIST)
    assert (restored.vectors, restored.vectors_passed_over) == (3, 5)
    assert await target.find(key, "f0a") == "p0"
    gallery = target.open_gallery()
    assert [await gallery.count(each) for each in (key, doomed)] == [3, 0]
    await gallery.close()


async def test_a_registry_that_is_not_the_backups_knows_of_no_erasure(
    make_data: MakeData, safe: Path
) -> None:
    """It is replaced only with a list; the backup's own needs none, even with nothing left but erasures."""
    data = make_data("data")
    key = await data.fill(people=2)
    backup = BackupFile((await back_up(data.settings, safe / "one", key=None)).path)
    await data.with_registry(lambda registry, _: registry.delete_person(key, "p1"))
    fresh, other = make_data("fresh"), make_data("other")
    await fresh.with_registry(lambda registry, _: registry.check())  # what a first start makes
    await other.fill(people=1, event="gala")
    for target in (fresh, other):
        with pytest.raises(RestoreRefused, match=r"--erase-since.*no event and no account of this backup"):
            await restore(target.settings, backup, RestoreOptions(replace=True))

    await data.with_registry(lambda registry, _: registry.begin_event_deletion("gala"))
    await data.with_registry(lambda registry, _: registry.finish_event_deletion(key))
    await data.with_registry(
        lambda _, database: database.write(lambda link: link.execute(text("DELETE FROM account")))
    )
    report = await restore(data.settings, backup, RestoreOptions(replace=True))
    assert (report.passed_over["event"], report.vectors) == (1, 0)


async def test_of_several_erasures_the_latest_is_remembered(make_data: MakeData, database_url: str) -> None:
    """Else who was enrolled between two of them would come back at the next restore."""
    await make_data(database_url=database_url).with_registry(lambda registry, _: registry.check())
    first, between, last = (now_utc() - timedelta(hours=hours) for hours in (3, 2, 1))
    async with open_writing(database_url) as session:
        for known in ({"a": first, "b": last}, {"a": last}, {"a": between, "b": first}):
            await session.run(_complete, known)
        assert await session.run(read_erased) == {"a": last, "b": last}


async def test_another_key_stops_a_restore_and_a_failed_compaction_does_not(
    make_data: MakeData, safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before anything is changed; the other once all is back, keys included."""
    data = make_data("data")
    await data.fill(people=1)
    backup = BackupFile((await back_up(data.settings, safe, key=None)).path)
    target = make_data("target").settings
    KeyRing(target.keys_dir).load_or_create()
    with pytest.raises(RestoreRefused, match="is another key"):
        await restore(target, backup, NO_LIST)
    assert [path.name for path in target.data_dir.iterdir()] == [target.keys_dir.name]

    def fail(path: Path) -> None:
        assert (target.keys_dir / "signing-000001.pem").read_bytes() == wanted
        raise sqlite3.OperationalError("database or disk is full")

    wanted = (data.settings.keys_dir / "signing-000001.pem").read_bytes()
    monkeypatch.setattr(restoring, "compact_file", fail)
    report = await restore(target, backup, RestoreOptions(replace=True, without_list=True))
    assert (report.keys, report.vectors) == (["signing-000001.pem"], 2)
    assert report.compaction_error == "database or disk is full"
    assert [path.name for path in target.keys_dir.iterdir()] == report.keys
