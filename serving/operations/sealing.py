"""Encryption of a stream in chunks, so that a backup of any size is written and read in bounded memory.

The STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizar, CRYPTO 2015) over AES-256-GCM: each chunk is
sealed under a nonce of a random prefix, its number and whether it is the last. Whoever drops, repeats, swaps
or cuts off chunks is found out. Each file has a key of its own, which HKDF-SHA256 derives from the backup key
and a salt.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Sequence
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from serving.errors import BackupError
from serving.operations.backup_keys import ID_BYTES, BackupKey

MAGIC = b"rollcall-sealed-1\n"
CHUNK_BYTES = 256 * 1024
_TAG_BYTES = 16
_SALT_BYTES = 16
_PREFIX_BYTES = 7
_HEADER_BYTES = len(MAGIC) + ID_BYTES + _SALT_BYTES + _PREFIX_BYTES
_MAX_CHUNKS = 2**32


class SealedWriter(io.RawIOBase):
    """Seals what is written to it into `raw`. `close` writes the last chunk and leaves `raw` open."""

    def __init__(self, raw: BinaryIO, key: BackupKey) -> None:
        super().__init__()
        salt, self._prefix = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_PREFIX_BYTES)
        header = MAGIC + key.id + salt + self._prefix
        self._raw = raw
        self._cipher = _make_cipher(key, salt, header)
        self._number = 0
        self._waiting = bytearray()
        raw.write(header)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._waiting += data
        # One chunk stays behind until it is known whether it is the last.
        while len(self._waiting) > CHUNK_BYTES:
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._seal(bytes(self._waiting), is_last=True)
            self._waiting.clear()
            super().close()

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        nonce = _make_nonce(self._prefix, self._number, is_last)
        self._raw.write(self._cipher.encrypt(nonce, chunk, None))
        self._number += 1


class SealedReader(io.RawIOBase):
    """What was sealed in `raw`, opened with whichever of the keys it names.

    Raises:
        BackupError: by `__init__`: it is not sealed, or by none of these keys; by `read`: it was changed.
    """

    def __init__(self, raw: BinaryIO, keys: Sequence[BackupKey]) -> None:
        super().__init__()
        header = raw.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
            raise BackupError("this is no encrypted backup")
        rest = header[len(MAGIC) :]
        key_id, salt = rest[:ID_BYTES], rest[ID_BYTES : ID_BYTES + _SALT_BYTES]
        self._prefix = rest[ID_BYTES + _SALT_BYTES :]
        found = [key for key in keys if key.id == key_id]
        if not found:
            raise BackupError(f"the key {key_id.hex()} encrypted this backup, and it is not in the key file")
        self._raw = raw
        self._cipher = _make_cipher(found[0], salt, header)
        self._number = 0
        self._opened = b""
        self._place = 0
        self._following: bytes | None = raw.read(CHUNK_BYTES + _TAG_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while self._place >= len(self._opened):
            if self._following is None:
                return 0
            self._open_next()
        part = self._opened[self._place : self._place + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def _open_next(self) -> None:
        sealed = self._following or b""
        following = self._raw.read(CHUNK_BYTES + _TAG_BYTES)
        nonce = _make_nonce(self._prefix, self._number, not following)
        try:
            self._opened = self._cipher.decrypt(nonce, sealed, None)
        except (InvalidTag, ValueError):
            raise BackupError("the backup is damaged, or was cut off or changed") from None
        self._following = following or None
        self._place = 0
        self._number += 1


def is_sealed(start: bytes) -> bool:
    """Whether a file that begins so is an encrypted backup; takes `len(MAGIC)` bytes."""
    return start.startswith(MAGIC)


def _make_cipher(key: BackupKey, salt: bytes, header: bytes) -> AESGCM:
    derive = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"rollcall backup stream" + header)
    return AESGCM(derive.derive(key.secret))


def _make_nonce(prefix: bytes, number: int, is_last: bool) -> bytes:
    if number >= _MAX_CHUNKS:
        raise BackupError("the backup is too large to be encrypted as one file")
    return prefix + number.to_bytes(4, "big") + (b"\1" if is_last else b"\0")
