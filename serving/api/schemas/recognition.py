"""Who is in a picture, and whether somebody is who they claim to be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from serving.api.schemas.base import Cosine, Schema
from serving.api.schemas.faces import FaceView, FaultView, ProblemView, Timings
from serving.packs.calibration import Band

Rate = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Share of pairs of different people that score as high, by the pack's calibration.",
    ),
]

MAX_VECTORS = 100
"""Vectors in one request: as many as faces are answered of one picture."""

Vector = Annotated[
    list[Annotated[float, Field(strict=True)]],
    Field(
        min_length=1,
        max_length=4096,
        fail_fast=True,
        description="As many numbers as the pack's dimension, of any length.",
    ),
]


class CandidateView(Schema):
    """A person who may be the face."""

    person_id: str = Field(examples=["ada"])
    name: str | None = Field(examples=["Ada Lovelace"])
    face_id: str = Field(description="The enrolled face that was nearest.")
    cosine: Cosine
    false_match_rate: Rate
    band: Band


class Verdict(Schema):
    """Who a face or vector is."""

    outcome: Literal["match", "unknown", "refused"] = Field(
        description="`match` when the best candidate reaches the threshold, `refused` when the face falls "
        "short of the quality asked for, or is not live where that is enforced, and was not compared."
    )
    person: CandidateView | None = Field(description="Who it is; null unless it is a match.")
    best_cosine: Cosine | None = Field(
        description="Of the best candidate; null when there is none, or when it is below the threshold and "
        "the caller may not read people."
    )
    candidates: list[CandidateView] = Field(
        description="The `top_k` nearest people, best first. To callers who may not read people only a "
        "match is shown."
    )


class RecognisedFace(FaceView, Verdict):
    """One face of the picture and who it is."""

    faults: list[FaultView] = Field(description="Why it was refused.")


class Recognition(Schema):
    """The faces of the picture, the surest detection first; empty when there is none."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: Cosine = Field(description="The raw cosine that decided.")
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    faces: list[RecognisedFace]
    timings: Timings


class RecognisedPicture(Schema):
    """A picture of a batch that was answered."""

    status: Literal["ok"] = "ok"
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    faces: list[RecognisedFace]


class FailedPicture(Schema):
    """A picture of several that could not be answered."""

    status: Literal["error"] = "error"
    problem: ProblemView


class BatchRecognition(Schema):
    """One result for each picture, in the order in which they were sent."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: Cosine = Field(description="The raw cosine that decided.")
    results: list[Annotated[RecognisedPicture | FailedPicture, Field(discriminator="status")]]
    timings: Timings = Field(
        description="Pictures are worked on side by side: each part is that of the slowest picture."
    )


class UsedPicture(Schema):
    """A picture of one person that counted."""

    status: Literal["ok"] = "ok"
    face: FaceView


class Identification(Verdict):
    """Who the one person in several pictures is."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: Cosine = Field(description="The raw cosine that decided.")
    pictures: list[Annotated[UsedPicture | FailedPicture, Field(discriminator="status")]] = Field(
        description="What became of each picture, in the order in which they were sent."
    )
    timings: Timings


class ComparedPicture(Schema):
    """A picture that was compared with the claimed person."""

    status: Literal["ok"] = "ok"
    face: FaceView
    cosine: Cosine | None = Field(description="With the person's nearest face; null as the decision's.")
    false_match_rate: Rate | None
    band: Band | None


class Verification(Schema):
    """Whether the person in the pictures is who they claim to be.

    `cosine`, `false_match_rate`, `band` and `face_id` are null when the person has no face, or when the claim
    failed and the caller may not read people.
    """

    request_id: str
    event_id: str
    pack_id: str
    person_id: str
    verified: bool
    threshold: Cosine = Field(description="The raw cosine that decided.")
    cosine: Cosine | None = Field(
        description="The mean cosine of the pictures with the person's nearest face."
    )
    false_match_rate: Rate | None
    band: Band | None
    face_id: str | None = Field(description="The enrolled face that was nearest.")
    pictures: list[Annotated[ComparedPicture | FailedPicture, Field(discriminator="status")]] = Field(
        description="What became of each picture, in the order in which they were sent."
    )
    timings: Timings


class VectorSearch(Schema):
    """Face vectors to look for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"pack_id": "starter-int8-mirror", "vectors": [[0.12, -0.03, 0.08]], "top_k": 3}]
        },
    )

    pack_id: str = Field(max_length=200, description="The model pack that made the vectors: the event's own.")
    vectors: list[Vector] = Field(
        min_length=1, max_length=MAX_VECTORS, description="Of any length; they are normalised here."
    )
    top_k: int | None = Field(None, ge=1, description="Candidates wanted for each vector.")
    threshold: Cosine | None = Field(None, description="Raw cosine at or above which it is a match.")
    false_match_rate: float | None = Field(None, gt=0, le=1, description="Target, in place of a threshold.")
    strictness: Literal["strict", "balanced", "lenient"] | None = Field(
        None, description="In place of a threshold."
    )


class VectorVerdicts(Schema):
    """Who each vector is, in the order in which they were sent."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: Cosine = Field(description="The raw cosine that decided.")
    results: list[Verdict]
    timings: Timings
