"""What was last written of the registry for keeping elsewhere; so the service can tell when it grows old."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select

from serving.registry.tables import insert_into, last_copy

Kind = Literal["backup", "erasures"]


@dataclass(frozen=True, slots=True)
class LastCopy:
    """The newest of its kind.

    Attributes:
        taken_at: the moment that it is of.
        size_bytes: of the file.
        free_bytes: what the file's disk had left afterwards.
        encrypted: whether it is.
        missing_faces: enrolled faces whose vectors are not in it, since the gallery did not have them.
    """

    kind: Kind
    taken_at: datetime
    size_bytes: int | None = None
    free_bytes: int | None = None
    encrypted: bool | None = None
    missing_faces: int | None = None


def note_copy(connection: Connection, copy: LastCopy) -> None:
    """Remember a copy in place of the one before.

    Whichever was noted last stays, also when it is of an earlier moment: a clock that was ahead for a day
    would otherwise hide for a day that no copy is made any more.
    """
    values = asdict(copy)
    insert = insert_into(connection, last_copy)
    changed = {name: insert.excluded[name] for name in values if name != "kind"}
    connection.execute(insert.on_conflict_do_update(index_elements=[last_copy.c.kind], set_=changed), values)


def read_copies(connection: Connection) -> dict[Kind, LastCopy]:
    """The newest of each kind that was ever noted."""
    rows = connection.execute(select(*last_copy.columns)).mappings()
    return {row["kind"]: LastCopy(**row) for row in rows}
