"""Files that their owner alone can read: whole, on the disk, or refused with a reason."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from serving.errors import BackupError
from serving.operations.private_files import write_private_file


def test_it_is_its_owners_alone_and_on_the_disk_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "keys"
    synced: list[tuple[bool, list[str]]] = []

    def note(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((is_directory, os.listdir(path.parent)))

    monkeypatch.setattr(os, "fsync", note)
    for text in ("first\n", "second\n"):
        synced.clear()
        write_private_file(path, text)
        assert path.read_text() == text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [is_directory for is_directory, _ in synced] == [False, True], "what it holds, then its name"
        assert synced[-1][1] == ["keys"]


@pytest.mark.parametrize("where", ["file/keys", "directory", "n" * 250])
def test_what_cannot_be_written_is_refused_with_a_reason_and_leaves_nothing(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("as it was")
    (tmp_path / "directory").mkdir()
    with pytest.raises(BackupError, match="cannot be written: "):
        write_private_file(tmp_path / where, "secret")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]
    assert (tmp_path / "file").read_text() == "as it was"
