"""What the API takes and answers, with examples; `/docs` is made from these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Cosine = Annotated[float, Field(ge=-1, le=1, description="Raw cosine similarity, never rescaled.")]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewEvent(_Schema):
    """An event to create."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"id": "gala-2026", "name": "Winter gala"}]}
    )

    id: str | None = Field(None, description="Your own id; one is made when it is left out.")
    name: str | None = Field(None, description="For people to read.")
    threshold: Cosine | None = Field(
        None, description="Raw cosine at or above which a face is a match here; default: the pack's."
    )


class EventView(_Schema):
    """An event."""

    id: str = Field(examples=["gala-2026"])
    name: str | None = Field(examples=["Winter gala"])
    pack_id: str = Field(description="The model pack whose vectors this event holds.")
    threshold: Cosine | None
    created_at: datetime
    people: int = Field(description="People enrolled.")
    faces: int = Field(description="Faces enrolled.")


class EventPage(_Schema):
    """One page of events."""

    events: list[EventView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")


class PersonView(_Schema):
    """A person enrolled at an event."""

    id: str = Field(examples=["ada"])
    name: str | None = Field(examples=["Ada Lovelace"])
    face_ids: list[str] = Field(description="One for each picture enrolled.")
    created_at: datetime
    updated_at: datetime


class PersonSummary(_Schema):
    """A person in a list."""

    id: str
    name: str | None
    faces: int
    created_at: datetime


class PeoplePage(_Schema):
    """One page of people."""

    people: list[PersonSummary]
    next_cursor: str | None


class Box(_Schema):
    """Where a face is, in pixels of the upright picture; a face cut by the edge reaches beyond it."""

    x: float
    y: float
    width: float
    height: float


class Landmarks(_Schema):
    """Five points (x, y) in pixels; left and right as seen in the picture."""

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    nose: tuple[float, float]
    left_mouth: tuple[float, float]
    right_mouth: tuple[float, float]


class EnrolledFace(_Schema):
    """A face that was stored."""

    face_id: str
    box: Box
    detection_score: float = Field(ge=0, le=1)


class Enrolment(_Schema):
    """Who was enrolled, by which faces; the faces are in the order of the pictures sent."""

    request_id: str
    event_id: str
    person: PersonView
    faces: list[EnrolledFace]


class CandidateView(_Schema):
    """A person who may be the face."""

    person_id: str = Field(examples=["ada"])
    name: str | None = Field(examples=["Ada Lovelace"])
    face_id: str = Field(description="The enrolled face that was nearest.")
    cosine: Cosine
    false_match_rate: float = Field(
        ge=0,
        le=1,
        description="Share of pairs of different people that score as high, by the pack's calibration.",
    )


class RecognisedFace(_Schema):
    """One face of the picture and who it is."""

    box: Box
    landmarks: Landmarks
    detection_score: float = Field(ge=0, le=1)
    outcome: Literal["match", "unknown"] = Field(
        description="`match` when the best candidate reaches the threshold."
    )
    person: CandidateView | None = Field(description="Who it is; null when unknown.")
    candidates: list[CandidateView] = Field(
        description="The `top_k` nearest people, best first, below the threshold too."
    )


class Recognition(_Schema):
    """Every face of the picture, the surest detection first; empty when there is none."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: Cosine
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    faces: list[RecognisedFace]


class CalibrationPoint(_Schema):
    """What a threshold costs."""

    false_match_rate: float
    threshold: Cosine


class ModelView(_Schema):
    """The model pack that serves."""

    pack_id: str = Field(examples=["starter-int8"])
    title: str
    licence: str
    dimension: int = Field(description="Numbers in a face vector.")
    default_threshold: Cosine
    calibration: list[CalibrationPoint]
    version: str = Field(description="Rollcall's version.")


class Health(_Schema):
    """Whether the service is alive, or ready."""

    status: Literal["ok"]
