"""A ZIP archive of pictures, read entry by entry; nothing is ever unpacked to disk.

`zipfile` holds all that a central directory claims in memory before it can be asked how much that is, so the
directory is read here, record by record, within bounds. Only what every packer writes is taken: stored or
deflated entries, ZIP64 included.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from serving.errors import BadArchive, InvalidRequest, PictureTooLarge, RollcallError
from serving.jobs.archive_entry import Entry
from serving.jobs.entry_names import MAX_NAME_CHARS
from serving.jobs.source import ImportLimits

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE, _LOCATOR_SIGNATURE, _END64_SIGNATURE = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 65535
_ZIP64_EXTRA = 1
_ALL_ONES = 0xFFFFFFFF
_ENCRYPTED, _UTF8 = 0x1, 0x800
_STORED, _DEFLATED = 0, 8
_UNIX, _TYPE_MASK, _REGULAR = 3, 0o170000, 0o100000
_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Central:
    """What a record of the central directory says."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    unpacked: int
    offset: int
    is_regular: bool


class ZipReader:
    """Entries of a ZIP file in the order of its central directory.

    Args:
        file: open for reading; closed by whoever opened it.
        limits: of one entry and of all.
    """

    in_any_order = True

    def __init__(self, file: BinaryIO, limits: ImportLimits) -> None:
        self._file = file
        self._limits = limits
        self._size = 0
        self._records: list[_Central] = []

    def scan(self) -> Iterator[Entry]:
        """Every entry.

        Raises:
            BadArchive: this is no ZIP, is cut off, or is split over several files.
        """
        self._size = self._file.seek(0, 2)
        directory, count, start = self._find_directory(self._size)
        self._records.clear()
        self._file.seek(start)
        position = 0
        while position < directory:
            record, length = self._read_record(directory - position)
            position += length
            self._records.append(record)
            yield Entry(len(self._records) - 1, record.name, record.unpacked, self._fault_of(record))
            self._file.seek(start + position)
        if position != directory or count > position // _CENTRAL.size:
            raise BadArchive("the ZIP file's directory is not as long as it says", offset=start + position)

    def read(self, entry: Entry, max_bytes: int) -> bytes:
        """The unpacked bytes of an entry that `scan` found.

        Raises:
            PictureTooLarge: they are more than `max_bytes`, whatever the directory says.
            InvalidRequest: the entry is damaged.
        """
        record = self._records[entry.key]
        self._file.seek(min(record.offset, self._size))
        head = self._file.read(_LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
            raise InvalidRequest("the ZIP file holds no entry where its directory says")
        fields = _LOCAL.unpack(head)
        self._file.seek(record.offset + _LOCAL.size + fields[9] + fields[10])
        content = self._unpack(record, max_bytes)
        if zlib.crc32(content) != record.crc:
            raise InvalidRequest("the entry is damaged: its checksum is wrong")
        return content

    def _unpack(self, record: _Central, max_bytes: int) -> bytes:
        if record.method == _STORED:
            if record.packed > max_bytes:
                raise PictureTooLarge(max_bytes=max_bytes)
            return self._file.read(record.packed)
        decompressor, left = zlib.decompressobj(-15), record.packed
        content = bytearray()
        try:
            while left > 0 and not decompressor.eof:
                chunk = self._file.read(min(_CHUNK, left))
                if not chunk:
                    break
                left -= len(chunk)
                content += decompressor.decompress(chunk, max_bytes + 1 - len(content))
                if len(content) > max_bytes or decompressor.unconsumed_tail:
                    raise PictureTooLarge(max_bytes=max_bytes)
        except zlib.error:
            raise InvalidRequest("the entry is damaged: it cannot be unpacked") from None
        if not decompressor.eof:
            raise InvalidRequest("the entry is damaged: it ends too early")
        return bytes(content)

    def _fault_of(self, record: _Central) -> RollcallError | None:
        if record.flags & _ENCRYPTED:
            return InvalidRequest("the entry is encrypted")
        if record.method not in (_STORED, _DEFLATED):
            return InvalidRequest(f"the entry is packed by method {record.method}; only deflate is read")
        if not record.is_regular:
            return InvalidRequest("the entry is a link or device, no file")
        return None

    def _find_directory(self, size: int) -> tuple[int, int, int]:
        """Length, records and offset of the central directory."""
        tail_at = max(0, size - _END.size - _MAX_COMMENT)
        self._file.seek(tail_at)
        tail = self._file.read(_END.size + _MAX_COMMENT)
        place = tail.rfind(_END_SIGNATURE)
        if place < 0 or len(tail) - place < _END.size:
            raise BadArchive("this is no ZIP file, or it is cut off: its end is missing")
        _, disk, first_disk, _, count, length, start, _ = _END.unpack_from(tail, place)
        if disk or first_disk:
            raise BadArchive("the ZIP file is one part of several")
        end = tail_at + place
        if _ALL_ONES in (length, start) or count == 0xFFFF:
            end, count, length, start = self._find_directory64(end, count, length, start)
        if start + length > end:
            raise BadArchive("the ZIP file's directory lies outside the file", offset=start)
        return length, count, start

    def _find_directory64(self, end: int, *plain: int) -> tuple[int, int, int, int]:
        self._file.seek(max(0, end - _LOCATOR.size))
        locator = self._file.read(_LOCATOR.size)
        if len(locator) < _LOCATOR.size or locator[:4] != _LOCATOR_SIGNATURE:
            return (end, *plain)  # type: ignore[return-value]  # 65535 entries exactly
        self._file.seek(min(_LOCATOR.unpack(locator)[2], end))
        record = self._file.read(_END64.size)
        if len(record) < _END64.size or record[:4] != _END64_SIGNATURE:
            raise BadArchive("the ZIP file's directory cannot be found")
        fields = _END64.unpack(record)
        return end, fields[7], fields[8], fields[9]

    def _read_record(self, available: int) -> tuple[_Central, int]:
        """The next record and its length."""
        head = self._file.read(_CENTRAL.size)
        if len(head) < _CENTRAL.size or head[:4] != b"PK\x01\x02":
            raise BadArchive("the ZIP file's directory is damaged", offset=self._file.tell())
        fields = _CENTRAL.unpack(head)
        flags, method, crc, packed, unpacked = fields[3], fields[4], fields[7], fields[8], fields[9]
        name_length, extra_length, comment_length = fields[10:13]
        attributes, offset = fields[15], fields[16]
        raw = self._file.read(name_length)
        extra = self._file.read(extra_length)
        length = _CENTRAL.size + name_length + extra_length + comment_length
        if length > available or len(raw) + len(extra) < name_length + extra_length:
            raise BadArchive("the ZIP file's directory is cut off", offset=self._file.tell())
        # Cut, so that names too long to be any good are not held in memory.
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437", "replace")[: MAX_NAME_CHARS + 1]
        unpacked, packed, offset = _widen(extra, unpacked, packed, offset)
        kind = (attributes >> 16) & _TYPE_MASK if fields[1] >> 8 == _UNIX else 0
        record = _Central(name, flags, method, crc, packed, unpacked, offset, kind in (0, _REGULAR))
        return record, length


def _widen(extra: bytes, *sizes: int) -> tuple[int, int, int]:
    """Sizes and offset with those that did not fit in 32 bits taken from the ZIP64 field."""
    wide: list[int] = []
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == _ZIP64_EXTRA:
            held = extra[place + 4 : place + 4 + length]
            wide = [value for (value,) in struct.iter_unpack("<Q", held[: len(held) // 8 * 8])]
            break
        place += 4 + length
    widened = [wide.pop(0) if size == _ALL_ONES and wide else size for size in sizes]
    return widened[0], widened[1], widened[2]
