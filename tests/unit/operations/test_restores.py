"""What a restore must not bring back, must not overwrite, and must not leave half done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.operations import backing_up
from serving.operations.archive import BackupFile
from serving.operations.backing_up import back_up
from serving.operations.restoring import RestoreOptions, restore
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
