"""What an import reads, whatever the form of its upload: people with pictures or vectors, item by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import RollcallError
from serving.jobs.records import PersonFacts


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """What an upload may hold.

    Attributes:
        max_items: pictures or people.
        max_entry_bytes: one picture, unpacked.
        max_unpacked_bytes: all of an archive, unpacked.
        group: pictures of one person that are read, and enrolled, together.
    """

    max_items: int
    max_entry_bytes: int
    max_unpacked_bytes: int
    group: int


@dataclass(frozen=True, slots=True)
class VectorFace:
    """A face that comes as a vector.

    Attributes:
        id: None: made from the vector.
        vector: float32 [D], L2-normalised.
        created_at: seconds since the epoch; None: now.
    """

    id: str | None
    vector: NDArray[np.float32]
    created_at: float | None


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an upload.

    Attributes:
        place: from 0, the same each time the upload is read.
        name: of the entry or line, as it stands there.
        content: a picture file, the faces of one person, or why the item is rejected.
        person: whose; None when the item is rejected.
    """

    place: int
    name: str
    content: bytes | tuple[VectorFace, ...] | RollcallError
    person: PersonFacts | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Items that follow each other and are enrolled together: pictures of one person, or several people
    with vectors, each once.
    """

    items: Sequence[Item]


class ImportSource(Protocol):
    """An upload. Every method blocks and may raise BadArchive; call them in a thread, one at a time.

    Attributes:
        pack_id: of the vectors it holds; None where it holds pictures.
    """

    pack_id: str | None

    def count(self) -> int:
        """Read through the upload once, check its limits, and return how many items it holds."""
        ...

    def groups(self, start: int) -> Iterator[Group]:
        """The items from this place on, in order. Call `count` first."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
