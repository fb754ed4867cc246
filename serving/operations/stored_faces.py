"""The faces of each event as a backup keeps them: where they lie, which are enrolled, how one is written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, func, or_, select, tuple_

from serving.errors import BackupError
from serving.gallery.protocol import Gallery
from serving.gallery.records import MAX_PAGE_FACES, FaceRecord
from serving.registry.tables import IS_ACTIVE, IS_OPEN, event, face, migrated_face

_NAMES_PER_STATEMENT = 200


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """Vectors of one event and one pack. number: its folder in the backup; is_next: the pack it moves to."""

    number: int
    event_key: str
    partition: str
    pack_id: str
    is_next: bool

    @property
    def folder(self) -> str:
        return f"vectors/{self.number:06d}"


def find_places(connection: Connection) -> list[StoredPlace]:
    """Where vectors of open events lie; those of events that are being deleted are not kept."""
    found = connection.execute(
        select(
            event.c.key,
            event.c.pack_id,
            func.coalesce(event.c.partition, event.c.key),
            event.c.migrating_to,
            event.c.next_partition,
        )
        .where(IS_OPEN)
        .order_by(event.c.key)
    )
    places: list[tuple[str, str, str, bool]] = []
    for event_key, pack_id, partition, next_pack, next_partition in found:
        places.append((event_key, partition, pack_id, False))
        if next_pack is not None and next_partition is not None:
            places.append((event_key, next_partition, next_pack, True))
    return [StoredPlace(number, *each) for number, each in enumerate(places, 1)]


def read_places(written: Sequence[Mapping[str, Any]]) -> list[StoredPlace]:
    """The places that a backup's header names, in the order of `find_places`; raises BackupError."""
    places: list[StoredPlace] = []
    seen: set[str] = set()
    try:
        for each in written:
            number = int(each["folder"].rpartition("/")[2])
            event_key, partition, pack_id = each["event_key"], each["partition"], each["pack_id"]
            places.append(StoredPlace(number, event_key, partition, pack_id, event_key in seen))
            seen.add(event_key)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BackupError("the backup does not say where its vectors belong") from None
    return places


def _faces_of(place: StoredPlace) -> Any:
    """The table that says which faces a place holds, and the condition for those."""
    if place.is_next:
        return migrated_face, and_(
            migrated_face.c.event_key == place.event_key, migrated_face.c.state == "active"
        )
    return face, and_(face.c.event_key == place.event_key, IS_ACTIVE)


def count_faces(connection: Connection, place: StoredPlace) -> int:
    """How many enrolled faces a place should hold."""
    source, condition = _faces_of(place)
    return int(connection.execute(select(func.count()).select_from(source).where(condition)).scalar_one())


def known_faces(
    connection: Connection, place: StoredPlace, faces: list[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Which of these (person id, face id) are enrolled."""
    source, condition = _faces_of(place)
    found: set[tuple[str, str]] = set()
    for start in range(0, len(faces), _NAMES_PER_STATEMENT):
        named = or_(
            *(
                and_(source.c.person_id == each[0], source.c.id == each[1])
                for each in faces[start : start + _NAMES_PER_STATEMENT]
            )
        )
        rows = connection.execute(select(source.c.person_id, source.c.id).where(condition, named))
        found.update((row[0], row[1]) for row in rows)
    return found


def list_faces(
    connection: Connection, place: StoredPlace, after: tuple[str, str] | None
) -> list[tuple[str, str]]:
    """A page of the enrolled faces, (person id, face id), in their order."""
    source, condition = _faces_of(place)
    key = (source.c.person_id, source.c.id)
    statement = select(*key).where(condition).order_by(*key).limit(MAX_PAGE_FACES)
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    return [(row[0], row[1]) for row in connection.execute(statement)]


async def read_all_faces(gallery: Gallery | None, partition: str) -> AsyncIterator[tuple[FaceRecord, ...]]:
    """Every stored face of a partition, page by page; none where there is no gallery."""
    after: str | None = None
    while gallery is not None:
        page = await gallery.read_faces(partition, after, MAX_PAGE_FACES)
        if page.faces:
            yield page.faces
        after = page.next
        if after is None:
            return


def write_face(of: FaceRecord) -> list[Any]:
    """A face as a row: person id, face id, time, base64 of its little-endian float32."""
    vector = base64.b64encode(of.vector.astype("<f4").tobytes()).decode()
    return [of.person, of.face, of.created_at, vector]


def read_face(row: Any, partition: str, dimension: int) -> FaceRecord:
    """What `write_face` wrote; raises BackupError."""
    try:
        person_id, face_id, created_at, encoded = row
        vector = np.frombuffer(base64.b64decode(encoded, validate=True), "<f4").astype(np.float32)
        if vector.shape != (dimension,):
            raise ValueError
        return FaceRecord(partition, str(person_id), str(face_id), vector, float(created_at))
    except (TypeError, ValueError):
        raise BackupError("the backup holds a face vector that is none") from None


def hash_face(person_id: str, face_id: str) -> int:
    name = f"{len(person_id)}:{person_id}{face_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
