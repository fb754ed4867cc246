"""Made by client_generator from docs/openapi.json: answers of analysis."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rollcall_client.models.common import (
    Box,
    FaceView,
    FailedPicture,
    FaultView,
    Landmarks,
    LivenessView,
    ProblemView,
    QualityView,
    Timings,
)
from rollcall_client.request import Answer


class ComparedReference(Answer):
    """A reference that was compared."""

    index: int
    """Its place in the request: among the references, or the pictures after the first."""
    id: str | None
    """As in the request."""
    face: FaceView | None
    """The face that counted; null for a vector."""
    score: float
    """In the metric asked for: a cosine, or a distance from 0 to 2."""
    cosine: float
    """Raw cosine similarity, never rescaled."""
    false_match_rate: float
    """Share of pairs of different people that score as high, by the pack's calibration."""
    band: Literal["high", "medium", "low", "none"] | str
    same_person: bool
    """Whether the cosine reaches the threshold."""


class FailedReference(Answer):
    """A reference that could not be compared."""

    index: int
    id: str | None
    problem: ProblemView


class Comparison(Answer):
    """How alike the query and each reference are."""

    request_id: str
    pack_id: str
    dimension: int
    """Numbers in a vector."""
    metric: Literal["cosine", "euclidean"] | str
    threshold: float
    """The raw cosine that decided."""
    query_face: FaceView | None
    """The face of the query; null for a vector."""
    best: ComparedReference
    """The first of `results`."""
    results: list[ComparedReference]
    """Best first."""
    failed: list[FailedReference]
    timings: Timings


class DetectedFace(Answer):
    """A face that was found."""

    box: Box
    landmarks: Landmarks
    detection_score: float
    quality: QualityView
    liveness: LivenessView
    faults: list[FaultView]
    """How it falls short of the quality level asked about."""


class Detection(Answer):
    """The faces of a picture, the surest first; empty when there is none."""

    request_id: str
    pack_id: str
    width: int
    """Of the upright picture, in pixels."""
    height: int
    faces: list[DetectedFace]
    timings: Timings


class EmbeddedFace(Answer):
    """A face and its vector."""

    box: Box
    landmarks: Landmarks
    detection_score: float
    quality: QualityView
    liveness: LivenessView
    faults: list[FaultView]
    """How it falls short of the quality level asked about."""
    vector: list[float] | str | None
    """Unit length: numbers to 8 decimals, or base64 of little-endian float32; null when the face has
    faults.
    """


class EmbeddedPicture(Answer):
    """A picture whose faces were embedded."""

    status: Literal["ok"] = "ok"
    width: int
    """Of the upright picture, in pixels."""
    height: int
    faces: list[EmbeddedFace]


class Embedding(Answer):
    """One result for each picture, in the order in which they were sent."""

    request_id: str
    pack_id: str
    """Vectors of another pack cannot be compared with these."""
    dimension: int
    """Numbers in a vector."""
    results: list[Annotated[EmbeddedPicture | FailedPicture, Field(discriminator="status")]]
    timings: Timings
    """Pictures are worked on side by side: each part is that of the slowest picture."""
