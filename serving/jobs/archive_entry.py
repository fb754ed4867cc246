"""What every kind of archive is read as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from serving.errors import RollcallError


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in an archive, or a folder: then the name ends with a slash.

    Attributes:
        key: by which its reader finds it again.
        size: in bytes, unpacked, as the archive says.
        fault: why it cannot be imported, or None.
    """

    key: int
    name: str
    size: int
    fault: RollcallError | None


class ArchiveReader(Protocol):
    """One kind of archive; `in_any_order` when reading backwards costs nothing."""

    in_any_order: bool

    def scan(self) -> Iterator[Entry]:
        """Every entry, in order; raises BadArchive."""
        ...

    def read(self, entry: Entry, max_bytes: int) -> bytes:
        """The bytes of an entry; raises BadArchive, or the entry's own error when it alone is bad."""
        ...
