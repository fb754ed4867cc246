"""Taking named files out of zip archives that others made, within bounds."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from serving.errors import PackError

MAX_ENTRIES = 10_000
"""Model packs have about ten; a list of millions would be read into memory."""

_BLOCK_BYTES = 1 << 20
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""The others may ask for gigabytes of memory to unpack a byte."""
_DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    OSError,
    ValueError,
    OverflowError,
    IndexError,
    struct.error,
)
"""What `zipfile` raises over archives that lie: of offsets before the file, say, or of fields cut short."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A member by its file name, in whatever folder it lies, and where to put it.

    sha256: None where it is not known. max_bytes: more is never unpacked. target: written whole or not.
    """

    name: str
    sha256: str | None
    max_bytes: int
    target: Path


def list_members(archive: Path) -> frozenset[str]:
    """File names in the archive, without their folders.

    Raises:
        PackError: it is no zip file.
    """
    with _open(archive) as opened:
        return frozenset(_base_name(entry) for entry in opened.infolist() if not _is_folder(entry))


def extract_members(archive: Path, wanted: Collection[Wanted]) -> dict[str, str]:
    """Write the wanted members and nothing else; no path inside the archive is ever used as one on disk.

    Returns:
        Lower case hex SHA-256 by member name.

    Raises:
        PackError: it is no zip file, a member is missing, there twice, a link, encrypted, packed by other
            means than deflate, larger than its bound or has another hash, or the target cannot be written.
    """
    with _open(archive) as opened:
        return {each.name: _extract(opened, archive.name, each) for each in wanted}


def copy_checked(source: IO[bytes], wanted: Wanted, where: str) -> str:
    """Copy a stream to its target within the bound of size, if it has the hash; return the hash.

    Raises:
        PackError: naming `where` and the file.
    """
    digest, size = hashlib.sha256(), 0
    try:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=wanted.target.parent, prefix=f".{wanted.target.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                while block := source.read(_BLOCK_BYTES):
                    size += len(block)
                    if size > wanted.max_bytes:
                        raise PackError(f"{where}: {wanted.name} is larger than {wanted.max_bytes} bytes")
                    digest.update(block)
                    stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())
            found = digest.hexdigest()
            if wanted.sha256 not in (None, found):
                raise PackError(
                    f"{where}: {wanted.name} has the sha256 {found}, and {wanted.sha256} was expected"
                )
            Path(temporary).chmod(0o644)
            os.replace(temporary, wanted.target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PackError(f"{where}: {wanted.name} cannot be written: {error}") from error
    return found


def _open(archive: Path) -> zipfile.ZipFile:
    try:
        opened = zipfile.ZipFile(archive)
    except _DAMAGE as error:
        raise PackError(f"{archive} cannot be read as a zip file: {error}") from error
    if len(opened.infolist()) > MAX_ENTRIES:
        opened.close()
        raise PackError(f"{archive} has more than {MAX_ENTRIES} members")
    return opened


def _extract(opened: zipfile.ZipFile, where: str, wanted: Wanted) -> str:
    entries = [
        entry for entry in opened.infolist() if _base_name(entry) == wanted.name and not _is_folder(entry)
    ]
    if len(entries) != 1:
        raise PackError(f"{where} has {len(entries)} files called {wanted.name}, and one was expected")
    entry = entries[0]
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise PackError(f"{where}: {entry.filename} is a link")
    if entry.compress_type not in _METHODS:
        raise PackError(f"{where}: {entry.filename} is packed by other means than deflate")
    if entry.file_size > wanted.max_bytes:
        raise PackError(f"{where}: {wanted.name} is larger than {wanted.max_bytes} bytes")
    try:
        with opened.open(entry) as stream:
            return copy_checked(stream, wanted, where)
    except (zlib.error, RuntimeError, EOFError, *_DAMAGE) as error:
        if isinstance(error, PackError):
            raise
        raise PackError(f"{where}: {entry.filename} cannot be unpacked: {error}") from error


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith("/")  # zipfile's own `is_dir` fails on a name of no characters


def _base_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.replace("\\", "/").rpartition("/")[2]
