"""Enrolment: from pictures of one person to faces that can be found, with nothing left behind on failure.

The registry is told first and last, the gallery in between, so that the registry always knows of every
vector. Whatever fails in between, and at whatever moment the process dies, a face is either enrolled for good
or announced and not confirmed: harmless to send again, and removed by the sweep (`graph/sweep.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Sequence

import numpy as np

from serving.api.deadlines import Deadline
from serving.api.services import Services
from serving.errors import ErasedMeanwhile, NoFace, RollcallError, SeveralFaces
from serving.gallery.records import FaceRecord
from serving.graph.sweep import erase_orphans
from serving.registry.identifiers import check_name, check_person_id
from serving.registry.records import Event, NewFace, Person
from serving.vision.pipeline import Face

CLEAN_UP_TIMEOUT_S = 5.0


async def find_single_face(services: Services, picture: bytes, deadline: Deadline) -> Face:
    """The one face of an enrolment picture.

    Raises:
        NoFace, SeveralFaces: there is not exactly one.
        RollcallError: the picture's own error, or the stage's.
    """
    found = await services.stages.detect(picture, deadline.remaining_s())
    if not found.faces:
        raise NoFace
    if len(found.faces) > 1:
        boxes = [[round(side, 1) for side in face.box] for face in found.faces[:10]]
        raise SeveralFaces(f"{len(found.faces)} faces were found", faces=len(found.faces), boxes=boxes)
    return found.faces[0]


async def enrol_person(
    services: Services,
    event: Event,
    person_id: str | None,
    name: str | None,
    pictures: Sequence[bytes],
    deadline: Deadline,
) -> tuple[Person, list[tuple[str, Face]]]:
    """Enrol all pictures of one person, or none when any is refused.

    Returns:
        The person, and (face id, face) for each picture in order. The same picture enrolled again for the
        same person is the same face.

    Raises:
        NoFace, SeveralFaces or a picture's own error, with `context["picture"]` its place.
        ErasedMeanwhile: the event or person was deleted while this ran.
    """
    if person_id is not None:
        check_person_id(person_id)  # before the models work for nothing
    check_name(name)
    outcomes = await asyncio.gather(
        *(find_single_face(services, picture, deadline) for picture in pictures), return_exceptions=True
    )
    faces = _all_or_first_error(outcomes)
    vectors = await services.stages.embed(np.stack([face.crop for face in faces]), deadline.remaining_s())
    face_ids = [_make_face_id(event, picture) for picture in pictures]
    announced = {
        face_id: NewFace(face_id, face.detection_score) for face_id, face in zip(face_ids, faces, strict=True)
    }
    person = await services.registry.begin_enrolment(event.key, person_id, name, list(announced.values()))
    now = time.time()
    records = {
        face_id: FaceRecord(event.key, person.id, face_id, vector, now)
        for face_id, vector in zip(face_ids, vectors, strict=True)
    }
    try:
        await services.stages.enrol(list(records.values()), deadline.remaining_s())
        person = await services.registry.finish_enrolment(event.key, person.id, list(announced), name)
    except ErasedMeanwhile:
        await erase_orphans(services.registry, services.stages, event.key, person.id, CLEAN_UP_TIMEOUT_S)
        raise
    return person, list(zip(face_ids, faces, strict=True))


def _all_or_first_error(outcomes: Sequence[Face | BaseException]) -> list[Face]:
    faces = []
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, RollcallError) and len(outcomes) > 1:
            raise type(outcome)(f"picture {place}: {outcome.detail}", **{**outcome.context, "picture": place})
        if isinstance(outcome, BaseException):
            raise outcome
        faces.append(outcome)
    return faces


def _make_face_id(event: Event, picture: bytes) -> str:
    """An id that is the same for the same picture at the same event, and says nothing about it elsewhere."""
    return uuid.uuid5(uuid.UUID(event.key), hashlib.sha256(picture).hexdigest()).hex
