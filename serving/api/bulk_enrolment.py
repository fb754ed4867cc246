"""Enrolment as the background jobs call it: the same as the routes', without a caller who waits."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from serving.api.deadlines import Deadline
from serving.api.enrolment import NewPictures, enrol_person, store_faces
from serving.api.resemblance import refuse_duplicates
from serving.api.services import Services
from serving.jobs.records import ImportOptions, PersonFacts
from serving.jobs.source import VectorFace
from serving.jobs.vector_lines import with_consent
from serving.registry.records import Event, NewFace
from serving.vision.picture import read_header
from serving.vision.quality_gates import QualityLevel


class BulkEnroller:
    """See `serving.jobs.enrolling.Enroller`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def enrol_pictures(
        self,
        event: Event,
        person: PersonFacts,
        pictures: Sequence[bytes],
        options: ImportOptions,
        timeout_s: float,
    ) -> None:
        """Enrol pictures of one person, all or none; raises what `enrol_person` raises."""
        person = with_consent(person, options.consent_reference)
        new = NewPictures(
            pictures,
            person.details,
            person.id,
            quality=None if options.quality is None else QualityLevel(options.quality),
            on_duplicate=options.on_duplicate,
            sees_people=False,
        )
        limits = self._services.settings.picture.limits
        for picture in pictures:
            read_header(picture, limits)
        await enrol_person(self._services, event, new, Deadline(timeout_s))

    async def enrol_vectors(
        self,
        event: Event,
        person: PersonFacts,
        faces: Sequence[VectorFace],
        options: ImportOptions,
        timeout_s: float,
    ) -> None:
        """Enrol faces that come as vectors, all or none; raises what `store_faces` raises.

        Raises:
            DuplicatePerson: a face matches another person, and that is to be refused.
        """
        services, deadline = self._services, Deadline(timeout_s)
        person = with_consent(person, options.consent_reference)
        if (options.on_duplicate or services.settings.enrolment.on_duplicate) == "refuse":
            vectors = np.stack([face.vector for face in faces])
            await refuse_duplicates(services, event, vectors, person.id, deadline, sees_people=False)
        named = [(face.id or _make_face_id(event, face), face) for face in faces]
        await store_faces(
            services,
            event,
            person.id,
            person.details,
            [(NewFace(face_id), face.vector) for face_id, face in named],
            deadline,
            created_at={face_id: face.created_at for face_id, face in named if face.created_at is not None},
        )


def _make_face_id(event: Event, face: VectorFace) -> str:
    """An id that is the same for the same vector at the same event: a repeated import adds nothing."""
    return uuid.uuid5(uuid.UUID(event.key), face.vector.tobytes().hex()).hex
