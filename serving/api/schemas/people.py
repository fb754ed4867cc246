"""People and their faces."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from serving.api.schemas.base import Box, Schema


class PersonView(Schema):
    """A person enrolled at an event."""

    id: str = Field(examples=["ada"])
    name: str | None = Field(examples=["Ada Lovelace"])
    face_ids: list[str] = Field(description="One for each picture enrolled.")
    created_at: datetime
    updated_at: datetime


class PersonSummary(Schema):
    """A person in a list."""

    id: str
    name: str | None
    faces: int
    created_at: datetime


class PeoplePage(Schema):
    """One page of people."""

    people: list[PersonSummary]
    next_cursor: str | None


class EnrolledFace(Schema):
    """A face that was stored."""

    face_id: str
    box: Box
    detection_score: float = Field(ge=0, le=1)


class Enrolment(Schema):
    """Who was enrolled, by which faces; the faces are in the order of the pictures sent."""

    request_id: str
    event_id: str
    person: PersonView
    faces: list[EnrolledFace]
