"""People and their faces."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from serving.api.options import SingleFace
from serving.api.schemas.base import Cosine, Schema
from serving.api.schemas.faces import FaceView
from serving.registry.identifiers import MAX_NAME_CHARS
from serving.registry.person_details import MAX_CONSENT_CHARS, MAX_METADATA_BYTES, MAX_METADATA_DEPTH
from serving.vision.liveness_modes import LivenessMode
from serving.vision.quality_gates import QualityLevel


class FaceQuery(BaseModel):
    """Options of every enrolment, as the query takes them."""

    consent_reference: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_CONSENT_CHARS,
        description="Names the person's consent in your own records; some events ask for it.",
    )
    face: SingleFace = Field(
        SingleFace.only,
        description="Each picture must hold only one face; or its largest counts, or the one nearest the "
        "centre.",
    )
    quality: QualityLevel | None = Field(
        None, description="Hold the faces to this level, no lower than the event's own."
    )
    liveness: LivenessMode | None = Field(
        None, description="Check faces for being live at least so strictly; else as the event says."
    )
    on_duplicate: Literal["refuse", "allow"] | None = Field(
        None, description="Whether a face that matches another person is refused; else as the settings say."
    )


class PersonQuery(FaceQuery):
    """Options of the enrolment of a person, as the query takes them."""

    person_id: str | None = Field(
        None, min_length=1, description="Your own id for the person; one is made when it is left out."
    )
    name: str | None = Field(None, min_length=1, max_length=MAX_NAME_CHARS, description="For people to read.")


class PersonFields(PersonQuery):
    """Options of the enrolment of a person, as form and JSON take them."""

    metadata: dict[str, Any] | None = Field(
        None,
        description=f"A JSON object of yours, at most {MAX_METADATA_BYTES} bytes and {MAX_METADATA_DEPTH} "
        "levels; in a form, as JSON text.",
    )


class PersonChange(Schema):
    """A merge patch (RFC 7396): what is left out stays, null removes, metadata are merged."""

    name: str | None = Field(None, min_length=1, max_length=MAX_NAME_CHARS, examples=["Ada King"])
    metadata: dict[str, Any] | None = Field(None, examples=[{"table": 9, "seat": None}])
    consent_reference: str | None = Field(None, min_length=1, max_length=MAX_CONSENT_CHARS)


class PersonView(Schema):
    """A person enrolled at an event."""

    id: str = Field(examples=["ada"])
    name: str | None = Field(examples=["Ada Lovelace"])
    metadata: dict[str, Any] = Field(
        description="Your own; empty when there is none.", examples=[{"table": 7}]
    )
    consent_reference: str | None = Field(examples=["form-2026-0117"])
    face_ids: list[str] = Field(description="One for each picture enrolled; may be empty.")
    created_at: datetime
    updated_at: datetime


class PersonSummary(Schema):
    """A person in a list."""

    id: str
    name: str | None
    metadata: dict[str, Any]
    consent_reference: str | None
    faces: int
    created_at: datetime
    updated_at: datetime


class PeoplePage(Schema):
    """One page of people."""

    people: list[PersonSummary]
    next_cursor: str | None


class StoredFace(Schema):
    """An enrolled face."""

    face_id: str
    created_at: datetime
    detection_score: float | None = Field(ge=0, le=1, description="Null where it is not known.")


class FacePage(Schema):
    """One page of a person's faces, by id."""

    faces: list[StoredFace]
    next_cursor: str | None


class EnrolledFace(FaceView):
    """A face that was stored."""

    face_id: str
    cosine_to_person: Cosine | None = Field(
        description="Best raw cosine to another face of this person, enrolled or in this request; null when "
        "there is none. A low one suggests that a picture of somebody else slipped in."
    )


class Enrolment(Schema):
    """Who was enrolled, by which faces; the faces are in the order of the pictures sent."""

    request_id: str
    event_id: str
    person: PersonView
    faces: list[EnrolledFace]
