"""The signing keys of a backup, brought back whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from serving.directories import make_private_directory
from serving.errors import BackupError, RestoreRefused
from serving.operations.archive import BackupFile

PREFIX = "signing-"


def read_key_files(file: BackupFile) -> dict[str, bytes]:
    """The files of a backup's keys by name; raises BackupError for a name that cannot be."""
    keys = {part.name.partition("/")[2]: part.data for part in file.parts() if part.name.startswith("keys/")}
    for name in keys:
        if "/" in name or not name.startswith(PREFIX):
            raise BackupError(f"the backup holds a key of a name that cannot be: {name[:60]!r}")
    return keys


def refuse_other_keys(directory: Path, keys: Mapping[str, bytes]) -> None:
    """Raise RestoreRefused where another key has the name of one that is to come back."""
    for name, data in keys.items():
        path = directory / name
        if path.exists() and path.read_bytes() != data:
            raise RestoreRefused(
                f"{path} is there already and is another key: --replace overwrites it, --no-keys keeps it"
            )


def write_key_files(directory: Path, keys: Mapping[str, bytes]) -> None:
    """Put them there, mode 0600, over those of the same names; others stay. Raises BackupError."""
    try:
        for name, data in keys.items():
            make_private_directory(directory)
            draft = directory / f".{name}.{secrets.token_hex(6)}"
            try:
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(handle, "wb") as target:
                    target.write(data)
                    target.flush()
                    os.fsync(target.fileno())
                os.replace(draft, directory / name)
            except OSError:
                with contextlib.suppress(OSError):
                    draft.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise BackupError(
            f"all is back but the signing keys, which cannot be written to {directory}: {error.strerror}"
        ) from None
