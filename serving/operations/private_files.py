"""Files that their owner alone can read, and whether a file is one."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from serving.directories import make_private_directory, sync_directory
from serving.errors import BackupError

MOUNTED_SECRETS = Path("/run/secrets")
"""Where a container engine mounts secrets, one file each; the folder that protects them stays on the host."""


def can_others_reach(path: Path, *, is_group_trusted: bool = False) -> bool:
    """Whether a file's mode lets in others than its owner, and no folder above it keeps them all out.

    `rollcall secrets init` makes such a folder; its files are open for the users within containers.

    Args:
        is_group_trusted: the file's and its folders' groups are none of the others.

    Raises:
        OSError: the file, or a folder above it, cannot be looked at.
    """
    path = path.resolve()
    file_bits, folder_bits = (0o007, 0o001) if is_group_trusted else (0o077, 0o011)
    return bool(path.stat().st_mode & file_bits) and all(
        folder.stat().st_mode & folder_bits for folder in path.parents
    )


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
