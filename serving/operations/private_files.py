"""Files that their owner alone can read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from serving.database.location import make_private_directory, sync_directory
from serving.errors import BackupError


def write_private_file(path: Path, text: str) -> None:
    """Write a whole ASCII file, mode 0600, in place of one that is there; missing directories get 0700.

    When this returns it is on the disk under its name, whatever becomes of the machine's power.

    Raises:
        BackupError: it cannot be written; what was there is as it was.
    """
    path = path.absolute()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        make_private_directory(path.parent)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # none was made where none can be
            draft.unlink()
        raise BackupError(f"{path} cannot be written: {error.strerror}") from None
