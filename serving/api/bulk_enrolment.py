"""Enrolment as the background jobs call it: the same as the routes', without a caller who waits."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

import numpy as np

from serving.api.deadlines import Deadline
from serving.api.enrolment import CLEAN_UP_TIMEOUT_S, NewPictures, enrol_person
from serving.api.policies import Policy, decide_threshold
from serving.api.resemblance import refuse_duplicates
from serving.api.services import Services
from serving.errors import DuplicatePerson, ErasedMeanwhile, MigrationRunning
from serving.gallery.records import FaceRecord
from serving.graph.sweep import erase_orphans
from serving.jobs.records import ImportOptions, PersonFacts
from serving.jobs.source import VectorFace
from serving.jobs.vector_lines import with_consent
from serving.registry.bulk_enrolment import NewPerson
from serving.registry.records import Event, NewFace
from serving.telemetry import recording
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
        people: Sequence[tuple[PersonFacts, Sequence[VectorFace]]],
        options: ImportOptions,
        timeout_s: float,
    ) -> None:
        """Enrol people whose faces come as vectors, each person once, all or none.

        Raises:
            DuplicatePerson: a face matches another person, and that is to be refused.
            ErasedMeanwhile: `context["person"]` was deleted while this ran, or the event was.
            MigrationRunning: the event moves to another pack, for which vectors cannot be made of vectors.
            RollcallError: as `Registry.begin_enrolment`.
        """
        services, deadline = self._services, Deadline(timeout_s)
        if event.migrating_to is not None:
            raise MigrationRunning(pack_id=event.pack_id, migrating_to=event.migrating_to)
        stages, stored_in = services.line_of(event).stages, [event.partition]
        if (options.on_duplicate or services.settings.enrolment.on_duplicate) == "refuse":
            await self._refuse_duplicates(event, people, deadline)
        now = time.time()
        new: list[NewPerson] = []
        records: list[FaceRecord] = []
        for person, faces in people:
            named = {face.id or _make_face_id(event, face): face for face in faces}
            details = with_consent(person, options.consent_reference).details
            new.append(NewPerson(person.id, details, tuple(map(NewFace, named))))
            records += [
                FaceRecord(
                    event.partition,
                    person.id,
                    face_id,
                    face.vector,
                    now if face.created_at is None else face.created_at,
                )
                for face_id, face in named.items()
            ]
        await services.registry.bulk.begin(event.key, new, stored_in)
        try:
            await stages.enrol(records, deadline.remaining_s())
            await services.registry.bulk.finish(event.key, new, stored_in)
        except ErasedMeanwhile as error:
            await erase_orphans(
                services.registry, services.lines, event.key, error.context["person"], CLEAN_UP_TIMEOUT_S
            )
            raise
        recording.note_enrolment(event.pack_id, len(records))

    async def _refuse_duplicates(
        self, event: Event, people: Sequence[tuple[PersonFacts, Sequence[VectorFace]]], deadline: Deadline
    ) -> None:
        """Refuse faces that match another person, who may also be among these people themselves."""
        services = self._services
        stacked = [np.stack([face.vector for face in faces]) for _, faces in people]
        every = np.concatenate(stacked)
        owners = np.repeat(np.arange(len(people)), [len(vectors) for vectors in stacked])
        line = services.line_of(event)
        threshold = decide_threshold(event, Policy(), line.calibration, line.threshold)
        if np.any((every @ every.T >= threshold) & (owners[:, None] != owners)):
            raise DuplicatePerson("two people of the upload match each other")
        searches = [
            refuse_duplicates(services, event, vectors, person.id, deadline, sees_people=False)
            for (person, _), vectors in zip(people, stacked, strict=True)
        ]
        outcomes = await asyncio.gather(*searches, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


def _make_face_id(event: Event, face: VectorFace) -> str:
    """An id that is the same for the same vector at the same event: a repeated import adds nothing."""
    return uuid.uuid5(uuid.UUID(event.key), face.vector.tobytes().hex()).hex
