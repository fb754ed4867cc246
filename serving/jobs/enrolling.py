"""What the jobs need of enrolment; the routes' own enrolment is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from serving.jobs.records import ImportOptions, PersonFacts
from serving.jobs.source import VectorFace
from serving.registry.records import Event


class Enroller(Protocol):
    """Enrols people as the routes do. To enrol the same again does no harm."""

    async def enrol_pictures(
        self,
        event: Event,
        person: PersonFacts,
        pictures: Sequence[bytes],
        options: ImportOptions,
        timeout_s: float,
    ) -> None:
        """Enrol pictures of one person, all or none; raises what the routes would answer."""
        ...

    async def enrol_vectors(
        self,
        event: Event,
        people: Sequence[tuple[PersonFacts, Sequence[VectorFace]]],
        options: ImportOptions,
        timeout_s: float,
    ) -> None:
        """Enrol people whose faces come as vectors, each person once, all or none."""
        ...
