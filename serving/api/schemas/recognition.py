"""Who is in a picture."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.api.schemas.base import Box, Cosine, Landmarks, Schema


class CandidateView(Schema):
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


class RecognisedFace(Schema):
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


class Recognition(Schema):
    """Every face of the picture, the surest detection first; empty when there is none."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: Cosine
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    faces: list[RecognisedFace]
