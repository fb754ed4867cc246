"""The vectors of a backup: back into the gallery, each found again by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.errors import BackupError
from serving.gallery.protocol import Gallery
from serving.gallery.records import FaceRecord, Probe
from serving.operations.archive import BackupFile, read_rows
from serving.operations.backing_up import OnProgress
from serving.operations.galleries import Galleries
from serving.operations.registry_session import Session
from serving.operations.stored_faces import known_faces, read_face, read_places

FACES_PER_CALL = 500
LEAST_COSINE = 0.9999
"""Of a stored vector with itself; engines differ in the last bits of a float32 sum."""


@dataclass(slots=True)
class RestoredVectors:
    """How many were stored, and how many were not, since their face is no longer known."""

    stored: int = 0
    passed_over: int = 0


async def restore_vectors(
    session: Session,
    galleries: Galleries,
    file: BackupFile,
    header: Mapping[str, Any],
    on_progress: OnProgress,
) -> RestoredVectors:
    """The vectors of the faces whose rows are back; others were erased, maybe while the backup was made.

    Raises:
        BackupError: the backup does not say whose they are, or what was stored does not read back.
    """
    report = RestoredVectors()
    places = {each.folder: each for each in read_places(header["places"])}
    stored: dict[tuple[str, str], int] = {}
    for part in file.parts_below("vectors/"):
        place = places.get(part.name.rpartition("/")[0])
        if place is None:
            raise BackupError(f"the backup does not say whose {part.name} is")
        pack_id, partition = place.pack_id, place.partition
        gallery = await galleries.open(pack_id, create=True)
        assert gallery is not None
        faces = [read_face(row, partition, header["packs"][pack_id]) for row in read_rows(part)]
        known = await session.run(known_faces, place, [(each.person, each.face) for each in faces])
        kept = [each for each in faces if (each.person, each.face) in known]
        report.passed_over += len(faces) - len(kept)
        for start in range(0, len(kept), FACES_PER_CALL):
            await gallery.upsert(kept[start : start + FACES_PER_CALL])
            await _find_again(gallery, kept[start : start + FACES_PER_CALL])
            report.stored += len(kept[start : start + FACES_PER_CALL])
            on_progress("vectors", report.stored, 0)
        stored[pack_id, partition] = stored.get((pack_id, partition), 0) + len(kept)
    for (pack_id, partition), count in stored.items():
        gallery = await galleries.open(pack_id, create=True)
        assert gallery is not None
        await gallery.flush()
        found = await gallery.count(partition)
        if found != count:
            raise BackupError(f"the gallery holds {found} faces of an event, and {count} were stored")
    return report


async def _find_again(gallery: Gallery, faces: Sequence[FaceRecord]) -> None:
    """Raise BackupError unless every face is found by its own vector, in its event and as its person."""
    found = await gallery.search([Probe(each.event, each.vector, 1, each.person) for each in faces])
    best = await gallery.search([Probe(faces[0].event, faces[0].vector, 1)])  # among everybody of the event
    for hits in (*found, *best):
        if not hits or hits[0].cosine < LEAST_COSINE:
            raise BackupError("a face that was restored is not found by its own vector")
