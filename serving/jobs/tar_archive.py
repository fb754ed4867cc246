"""A TAR archive of pictures, plain or gzipped, read entry by entry; nothing is ever unpacked to disk.

`tarfile` reads extended headers whole, however long they claim to be, so the blocks are walked here, within
bounds, and `tarfile` parses single headers only.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from serving.errors import BadArchive, InvalidRequest, PictureTooLarge, RollcallError
from serving.jobs.archive_entry import Entry
from serving.jobs.entry_names import MAX_NAME_CHARS
from serving.jobs.source import ImportLimits

_BLOCK = 512
_MAX_HEADER_BYTES = 64 * 1024
_MAX_HEADERS_IN_A_ROW = 8
_CHUNK = 256 * 1024
_SPARE_BYTES = 1024 * 1024
"""What headers and padding take, and never less than one block."""
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_FAILURES = (EOFError, OSError, zlib.error)


class TarReader:
    """Entries of a TAR file in its own order, in which they must also be read when it is gzipped.

    Args:
        file: open for reading; closed by whoever opened it.
        limits: `max_unpacked_bytes` bounds the whole stream, so that no few bytes unpack to terabytes.
    """

    def __init__(self, file: BinaryIO, limits: ImportLimits) -> None:
        file.seek(0)
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self._stream: BinaryIO = gzip.GzipFile(fileobj=file, mode="rb") if is_packed else file  # type: ignore[assignment]
        self._limits = limits
        self._position = 0
        self.in_any_order = not is_packed

    def scan(self) -> Iterator[Entry]:
        """Every entry; those that are neither regular files nor folders with a fault.

        Raises:
            BadArchive: this is no TAR, is damaged, or unpacks to more than allowed.
        """
        self._seek(0)
        found = False
        extended: dict[str, str] = {}
        in_a_row = 0
        while (header := self._read_header(found)) is not None:
            found = True
            if header.type in (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                in_a_row += 1
                if in_a_row > _MAX_HEADERS_IN_A_ROW:
                    raise self._damaged("too many extended headers follow each other")
                extended |= self._read_extended(header)
                continue
            fault = self._fault_of(header, extended)
            name, size = _resolve(header, extended)
            extended, in_a_row = {}, 0
            if size < 0:
                raise self._damaged("an entry has no size")
            start = self._position
            is_folder = header.type == tarfile.DIRTYPE
            yield Entry(start, name[: MAX_NAME_CHARS + 1] + ("/" if is_folder else ""), size, fault)
            # Links, folders and devices have no data, whatever their size says.
            self._seek(start)
            if header.type in (*tarfile.REGULAR_TYPES, tarfile.GNUTYPE_SPARSE) and size > 0:
                self._seek(start + size - 1)
                self._read(1)  # a file can be cut off within an entry, and seeking would not notice
                self._seek(start + _padded(size))

    def read(self, entry: Entry, max_bytes: int) -> bytes:
        """The bytes of an entry that `scan` found; PictureTooLarge, BadArchive."""
        if entry.size > max_bytes:
            raise PictureTooLarge(max_bytes=max_bytes)
        self._seek(entry.key)
        return self._read(entry.size)

    def _read_header(self, found: bool) -> tarfile.TarInfo | None:
        block = self._read_up_to(_BLOCK)
        if not block.strip(b"\x00") and (found or len(block) == _BLOCK):
            return None
        if len(block) < _BLOCK:
            raise self._damaged("it is cut off")
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError):
            raise self._damaged("a header is wrong" if found else "this is no TAR file") from None
        if header.type == tarfile.GNUTYPE_SPARSE and block[482]:
            while self._read(_BLOCK)[504]:  # more of the map of holes
                continue
        return header

    def _read_extended(self, header: tarfile.TarInfo) -> dict[str, str]:
        if not 0 <= header.size <= _MAX_HEADER_BYTES:
            raise self._damaged("an extended header is too long")
        start = self._position
        content = self._read(header.size)
        self._seek(start + _padded(header.size))
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": content.rstrip(b"\x00").decode("utf-8", "replace")}
        if header.type not in _PAX:
            return {}  # of all entries, or the target of a link
        return _parse_pax(content)

    def _fault_of(self, header: tarfile.TarInfo, extended: dict[str, str]) -> RollcallError | None:
        if header.type in _LINKS:
            return InvalidRequest("the entry is a link, no file")
        if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in extended):
            return InvalidRequest("the entry is a sparse file")
        if header.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE):
            return InvalidRequest("the entry is a device or of an unknown kind, no file")
        return None

    def _seek(self, position: int) -> None:
        self._check_position(position)
        try:
            self._stream.seek(position)
        except _FAILURES:
            raise self._damaged("it cannot be unpacked") from None
        self._position = position

    def _read(self, size: int) -> bytes:
        content = self._read_up_to(size)
        if len(content) < size:
            raise self._damaged("it is cut off")
        return content

    def _read_up_to(self, size: int) -> bytes:
        content = bytearray()
        try:
            while len(content) < size:
                chunk = self._stream.read(min(_CHUNK, size - len(content)))
                if not chunk:
                    break
                content += chunk
        except _FAILURES:
            raise self._damaged("it cannot be unpacked") from None
        self._position += len(content)
        self._check_position(self._position)
        return bytes(content)

    def _check_position(self, position: int) -> None:
        most = self._limits.max_unpacked_bytes
        if position > most + _SPARE_BYTES:
            raise BadArchive("the archive unpacks to more than allowed", max_bytes=most)

    def _damaged(self, how: str) -> BadArchive:
        return BadArchive(f"the TAR file cannot be read: {how}", offset=self._position)


def _parse_pax(content: bytes) -> dict[str, str]:
    """`<length> <key>=<value>\\n` records; reading stops at the first that is wrong."""
    found: dict[str, str] = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not (length.isdigit() and len(length) <= 6 and len(length) < int(length) <= len(content)):
            break
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        content = content[int(length) :]
    return found


def _resolve(header: tarfile.TarInfo, extended: dict[str, str]) -> tuple[str, int]:
    name, size = extended.get("path", header.name), extended.get("size", "")
    if size.isascii() and size.isdigit() and len(size) <= 18:
        return name, int(size)
    return name, header.size


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
