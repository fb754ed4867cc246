"""Lists of erasures and key files where schedules and container engines handle them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from serving.database.metadata import now_utc
from serving.errors import BackupError
from serving.operations import backup_keys
from serving.operations.backup_keys import add_key, read_keys
from serving.operations.erasure_list import read_list, renew_list, write_list


def test_a_list_that_is_renewed_forgets_nobody_before_the_time(tmp_path: Path) -> None:
    path = tmp_path / "list"
    now = now_utc()
    write_list(path, {"ada": now - timedelta(days=3), "bob": now - timedelta(days=9)}, now)
    assert renew_list(path, {}, keep_days=7) == 1, "the registry is new, and bob's time is over"
    assert read_list(path).erased == {"ada": now - timedelta(days=3)}
    assert renew_list(path, {"ada": now, "eve": now}, keep_days=7) == 2
    assert read_list(path).erased == {"ada": now, "eve": now}
    assert read_list(path).written_at >= now


def test_a_list_that_was_cut_off_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "list"
    write_list(path, {"ada": now_utc()})
    path.write_text(path.read_text()[:-10])
    before = path.read_bytes()
    with pytest.raises(BackupError, match="cut off"):
        renew_list(path, {}, keep_days=7)
    assert path.read_bytes() == before


def test_keys_that_an_engine_mounts_are_their_groups_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `fsGroup` Kubernetes gives a secret's files 0440, whatever mode is asked for."""
    path = tmp_path / "secrets" / "backup.keys"
    key = add_key(path)
    path.chmod(0o440)
    with pytest.raises(BackupError, match="chmod 600"):
        read_keys(path)
    monkeypatch.setattr(backup_keys, "MOUNTED_SECRETS", path.parent)
    assert read_keys(path) == [key]
    path.chmod(0o444)
    with pytest.raises(BackupError, match="chmod 600"):
        read_keys(path)
