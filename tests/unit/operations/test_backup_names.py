"""How a backup gets its name where the file system has no hard links."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.errors import BackupError
from serving.operations import backing_up
from serving.operations.archive import BackupFile
from serving.operations.backing_up import back_up
from tests.unit.operations.conftest import Data


@pytest.mark.parametrize("answer", [errno.EPERM, errno.EOPNOTSUPP])
async def test_without_hard_links_a_name_is_reserved(
    make_data: Callable[..., Data], safe: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    """And what has taken the name meanwhile stays as it is."""

    def refuse(source: Any, target: Any) -> None:
        raise OSError(answer, os.strerror(answer))

    data = make_data("data")
    await data.with_registry(lambda registry, _: registry.check())
    monkeypatch.setattr(os, "link", refuse)
    BackupFile((await back_up(data.settings, safe / "one", key=None)).path).verify()

    def take(*args: Any) -> None:
        (safe / "two").write_bytes(b"another's")

    monkeypatch.setattr(backing_up, "_read_back", take)
    with pytest.raises(BackupError, match="is there already"):
        await back_up(data.settings, safe / "two", key=None)
    assert (safe / "two").read_bytes() == b"another's"
    assert sorted(os.listdir(safe)) == ["one", "two"]


async def test_a_draft_that_cannot_be_opened_is_an_error_of_the_backup_and_leaves_nothing(
    make_data: Callable[..., Data], safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data("data")
    await data.with_registry(lambda registry, _: registry.check())
    honest = os.open

    def make_and_fail(path: Any, flags: int, *mode: int) -> int:
        handle = honest(path, flags, *mode)
        if str(path).endswith(".partial"):
            os.close(handle)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return handle

    monkeypatch.setattr(os, "open", make_and_fail)
    with pytest.raises(BackupError, match="cannot be written"):
        await back_up(data.settings, safe / "one", key=None)
    assert os.listdir(safe) == []


@pytest.mark.parametrize("ending", ["/", ""])
async def test_a_directory_that_is_missing_is_made_where_a_slash_says_so(
    make_data: Callable[..., Data], safe: Path, ending: str
) -> None:
    data = make_data("data")
    await data.with_registry(lambda registry, _: registry.check())
    report = await back_up(data.settings, f"{safe / 'backups'}{ending}", key=None)
    if ending:
        assert (report.path.parent, report.path.suffix) == (safe / "backups", backing_up.SUFFIX)
        assert report.path.parent.stat().st_mode & 0o777 == 0o700
    else:
        assert report.path == safe / "backups"
    BackupFile(report.path).verify()
