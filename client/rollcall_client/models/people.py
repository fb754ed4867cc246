"""Made by client_generator from docs/openapi.json: answers of people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rollcall_client.models.common import Box, Landmarks, LivenessView, QualityView
from rollcall_client.request import Answer


class EnrolledFace(Answer):
    """A face that was stored."""

    box: Box
    landmarks: Landmarks
    detection_score: float
    quality: QualityView
    liveness: LivenessView
    face_id: str
    cosine_to_person: float | None
    """Best raw cosine to another face of this person, enrolled or in this request; null when there is none.
    A low one suggests that a picture of somebody else slipped in.
    """


class PersonView(Answer):
    """A person enrolled at an event."""

    id: str
    name: str | None
    metadata: dict[str, Any]
    """Your own; empty when there is none."""
    consent_reference: str | None
    face_ids: list[str]
    """One for each picture enrolled; may be empty."""
    created_at: datetime
    updated_at: datetime


class Enrolment(Answer):
    """Who was enrolled, by which faces; the faces are in the order of the pictures sent."""

    request_id: str
    event_id: str
    person: PersonView
    faces: list[EnrolledFace]


class StoredFace(Answer):
    """An enrolled face."""

    face_id: str
    created_at: datetime
    detection_score: float | None
    """Null where it is not known."""


class FacePage(Answer):
    """One page of a person's faces, by id."""

    faces: list[StoredFace]
    next_cursor: str | None


class PersonSummary(Answer):
    """A person in a list."""

    id: str
    name: str | None
    metadata: dict[str, Any]
    consent_reference: str | None
    faces: int
    created_at: datetime
    updated_at: datetime


class PeoplePage(Answer):
    """One page of people."""

    people: list[PersonSummary]
    next_cursor: str | None
