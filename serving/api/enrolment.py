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
from dataclasses import dataclass, field
from typing import Literal

from serving.api.deadlines import Deadline
from serving.api.dual_writing import embed_for_next_pack
from serving.api.liveness import decide_liveness
from serving.api.options import SingleFace
from serving.api.probes import embed_faces, find_single_face
from serving.api.resemblance import compare_with_person, refuse_duplicates
from serving.api.services import Services
from serving.errors import (
    ConsentRequired,
    ErasedMeanwhile,
    PackChanged,
    PolicyNotAllowed,
    RollcallError,
    UnknownEvent,
    UnknownPerson,
)
from serving.gallery.records import FaceRecord, Vector
from serving.graph.sweep import erase_orphans
from serving.registry.identifiers import check_person_id
from serving.registry.person_details import PersonDetails
from serving.registry.records import Event, NewFace, Person
from serving.telemetry import recording
from serving.vision.liveness_modes import LivenessMode
from serving.vision.pipeline import Face
from serving.vision.quality_gates import QualityLevel

CLEAN_UP_TIMEOUT_S = 5.0
_REPLANNINGS = 3
"""A migration that begins, and one that ends, within the time of one request; more is trifling with it."""

_LEVELS = (QualityLevel.off, QualityLevel.standard, QualityLevel.strict)


@dataclass(frozen=True, slots=True)
class NewPictures:
    """Pictures of one person, and what is asked with them.

    Attributes:
        pictures: encoded files, one face of each is enrolled.
        details: of the person.
        person_id: whose they are; None for a new person under a new id.
        must_exist: whether somebody of that id must be enrolled already.
        face: which face of a picture is meant.
        quality: what the faces are held to; None: as the event says.
        on_duplicate: what becomes of a face that matches another person; None: as the settings say.
        sees_people: whether an error may tell the name of whom a face matches.
        liveness: what is asked of the faces; None: as the event says.
    """

    pictures: Sequence[bytes]
    details: PersonDetails = field(default_factory=PersonDetails)
    person_id: str | None = None
    must_exist: bool = False
    face: SingleFace = SingleFace.only
    quality: QualityLevel | None = None
    on_duplicate: Literal["refuse", "allow"] | None = None
    sees_people: bool = True
    liveness: LivenessMode | None = None


@dataclass(frozen=True, slots=True)
class EnrolledPicture:
    """What became of one picture: its face, and how much that resembles the person's other faces.

    cosine_to_person: of the other face that is the most similar; None when the person has no other.
    """

    face_id: str
    face: Face
    cosine_to_person: float | None


async def enrol_person(
    services: Services, event: Event, new: NewPictures, deadline: Deadline
) -> tuple[Person, list[EnrolledPicture]]:
    """Enrol all pictures of one person, or none when any is refused.

    Returns:
        The person, and what became of each picture, in order. The same picture enrolled again for the same
        person is the same face.

    Raises:
        NoFace, SeveralFaces, QualityTooLow, PresentationAttack or a picture's own error, with
            `context["picture"]` its place when there are several.
        PolicyNotAllowed: a quality level or a liveness check below the event's is asked for.
        LivenessNotConfigured: liveness is to be enforced, and there is no model.
        ConsentRequired, UnknownPerson: as `Registry.begin_enrolment`.
        DuplicatePerson: a face matches another person, and that is to be refused.
        ErasedMeanwhile: the event or person was deleted while this ran.
        PackChanged: the event began or ended moves to other packs faster than this could follow.
    """
    for last in (*(False,) * _REPLANNINGS, True):
        try:
            return await _enrol_person(services, event, new, deadline)
        except PackChanged:
            if last:
                raise
            event = await find_again(services, event)
    raise AssertionError


async def find_again(services: Services, event: Event) -> Event:
    """The event as it is now; raises ErasedMeanwhile when it is gone, though another may have its id."""
    try:
        found = await services.registry.get_event(event.id)
    except UnknownEvent:
        raise ErasedMeanwhile from None
    if found.key != event.key:
        raise ErasedMeanwhile
    return found


async def _enrol_person(
    services: Services, event: Event, new: NewPictures, deadline: Deadline
) -> tuple[Person, list[EnrolledPicture]]:
    # All that can be refused without them, before the models work for nothing.
    new.details.check()
    level = decide_level(services, event, new.quality)
    check = decide_liveness(services, event, new.liveness)
    known = await _find_known(services, event, new)
    line = services.line_of(event)
    outcomes = await asyncio.gather(
        *(find_single_face(line, each, new.face, level, deadline, check) for each in new.pictures),
        return_exceptions=True,
    )
    faces = _all_or_first_error(outcomes)
    vectors = await embed_faces(line, faces, deadline, check)
    if (new.on_duplicate or services.settings.enrolment.on_duplicate) == "refuse":
        await refuse_duplicates(
            services, event, vectors, new.person_id, deadline, sees_people=new.sees_people
        )
    next_vectors = await embed_for_next_pack(services, event, new.pictures, faces, deadline)
    of_all_places = list(zip(*([vectors] if next_vectors is None else [vectors, next_vectors]), strict=True))
    face_ids = [make_face_id(event, picture) for picture in new.pictures]
    cosines = await compare_with_person(services, event, known, face_ids, vectors, deadline)
    found = [
        (NewFace(face_id, face.detection_score), of_places)
        for face_id, face, of_places in zip(face_ids, faces, of_all_places, strict=True)
    ]
    person = await store_faces(
        services, event, new.person_id, new.details, found, deadline, must_exist=new.must_exist
    )
    enrolled = [EnrolledPicture(*each) for each in zip(face_ids, faces, cosines, strict=True)]
    return person, enrolled


async def store_faces(
    services: Services,
    event: Event,
    person_id: str | None,
    details: PersonDetails,
    faces: Sequence[tuple[NewFace, Sequence[Vector]]],
    deadline: Deadline,
    *,
    must_exist: bool = False,
) -> Person:
    """Enrol faces whose vectors are known, all or none; of several with one id the last counts.

    Args:
        faces: at least one, each with a vector for each of the event's places: float32 [D] of that place's
            pack, unit length.

    Returns:
        The person with all enrolled faces.

    Raises:
        InvalidRequest, UnknownEvent, EventClosed, UnknownPerson, ConsentRequired, StageUnavailable: as
            `Registry.begin_enrolment`.
        PackChanged: the event has other places by now; nobody is enrolled, what was stored is erased if
            enrolling is not tried again.
        ErasedMeanwhile: the event or person was deleted while this ran; nothing is left.
    """
    registry = services.registry
    announced = {face.id: (face, vectors) for face, vectors in faces}
    partitions = [place.partition for place in event.places]
    name, metadata, consent_reference = details.name, details.metadata, details.consent_reference
    person = await registry.begin_enrolment(
        event.key,
        person_id,
        name,
        [face for face, _ in announced.values()],
        metadata=metadata,
        consent_reference=consent_reference,
        must_exist=must_exist,
        partitions=partitions,
    )
    now = time.time()
    try:
        for number, place in enumerate(event.places):
            records = [
                FaceRecord(place.partition, person.id, face_id, vectors[number], now)
                for face_id, (_, vectors) in announced.items()
            ]
            await services.lines.of(place.pack_id).stages.enrol(records, deadline.remaining_s())
        enrolled = await registry.finish_enrolment(
            event.key,
            person.id,
            list(announced),
            name,
            metadata=metadata,
            consent_reference=consent_reference,
            partitions=partitions,
        )
    except ErasedMeanwhile:
        await erase_orphans(registry, services.lines, event.key, person.id, CLEAN_UP_TIMEOUT_S)
        raise
    recording.note_enrolment(event.pack_id, len(announced))
    return enrolled


def decide_level(services: Services, event: Event, asked: QualityLevel | None) -> QualityLevel:
    """What faces are held to: what the request asks for, but no less than the event or the settings ask.

    Raises:
        PolicyNotAllowed: the request asks for less.
    """
    own = services.settings.quality.enrolment_level
    if event.quality_level is not None:
        own = QualityLevel(event.quality_level)
    if asked is None:
        return own
    allowed = _LEVELS[_LEVELS.index(own) :]
    if asked not in allowed:
        raise PolicyNotAllowed(
            f"the request asks for quality {asked.value}, the event for {own.value}",
            allowed=[level.value for level in allowed],
            event_quality=own.value,
            asked_quality=asked.value,
        )
    return asked


def make_face_id(event: Event, picture: bytes) -> str:
    """An id that is the same for the same picture at the same event, and says nothing about it elsewhere."""
    return uuid.uuid5(uuid.UUID(event.key), hashlib.sha256(picture).hexdigest()).hex


async def _find_known(services: Services, event: Event, new: NewPictures) -> Person | None:
    """The person as enrolled before, if any; whoever may not be enrolled is refused."""
    known = None
    if new.person_id is not None:
        try:
            known = await services.registry.get_person(event.key, check_person_id(new.person_id))
        except UnknownPerson:
            if new.must_exist:
                raise
    has_consent = known is not None and known.consent_reference is not None
    if event.consent_required and new.details.consent_reference is None and not has_consent:
        raise ConsentRequired
    return known


def _all_or_first_error(outcomes: Sequence[Face | BaseException]) -> list[Face]:
    faces = []
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, RollcallError) and len(outcomes) > 1:
            raise type(outcome)(f"picture {place}: {outcome.detail}", **{**outcome.context, "picture": place})
        if isinstance(outcome, BaseException):
            raise outcome
        faces.append(outcome)
    return faces
