"""The file of keys that encrypt backups: the last one encrypts, all of them decrypt.

One key a line, base64 of 32 random bytes. To change keys is to add one; backups made before stay readable as
long as their key's line is there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import BackupError
from serving.operations.private_files import MOUNTED_SECRETS, write_private_file

KEY_BYTES = 32
ID_BYTES = 8
_PREFIX = "rollcall-backup-key:"
_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class BackupKey:
    """A key: `id`, 8 bytes that name it, and its secret, which is never shown."""

    id: bytes
    secret: bytes = field(repr=False)


def read_keys(path: Path) -> list[BackupKey]:
    """The keys of a file, oldest first.

    Kubernetes lets a pod's user read a mounted secret by its group alone, which is nobody else's there.

    Raises:
        BackupError: it cannot be read, others can read it, or it holds no key or something else.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()[:_MAX_FILE_BYTES].decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"the backup keys in {path} cannot be read: {type(error).__name__}") from None
    if stat.S_IMODE(mode) & (0o007 if path.is_relative_to(MOUNTED_SECRETS) else 0o077):
        raise BackupError(f"others can read the backup keys in {path}: chmod 600 it")
    lines = [line.strip() for line in text.splitlines()]
    keys = [_read_line(line, path) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise BackupError(f"{path} holds no backup key; make one with: rollcall rotate-keys --backup")
    return keys


def add_key(path: Path) -> BackupKey:
    """Add a new key, which encrypts from now on; makes the file, mode 0600, where there is none.

    The file is replaced as a whole: a crash leaves the old one or the new one.

    Raises:
        BackupError: as `read_keys`, or it cannot be written.
    """
    known = path.read_text("ascii") if path.exists() and read_keys(path) else ""
    secret = secrets.token_bytes(KEY_BYTES)
    line = f"{_PREFIX}{base64.b64encode(secret).decode()}\n"
    write_private_file(path, known + ("" if known.endswith("\n") or not known else "\n") + line)
    return _make_key(secret)


def _read_line(line: str, path: Path) -> BackupKey:
    try:
        if not line.startswith(_PREFIX):
            raise ValueError
        secret = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
        if len(secret) != KEY_BYTES:
            raise ValueError
    except (ValueError, binascii.Error):
        raise BackupError(f"{path} holds a line that is no backup key") from None
    return _make_key(secret)


def _make_key(secret: bytes) -> BackupKey:
    return BackupKey(hashlib.sha256(b"rollcall backup key id" + secret).digest()[:ID_BYTES], secret)
