"""Made by client_generator from docs/openapi.json: answers of recognition."""

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
    QualityView,
    Timings,
)
from rollcall_client.request import Answer


class CandidateView(Answer):
    """A person who may be the face."""

    person_id: str
    name: str | None
    face_id: str
    """The enrolled face that was nearest."""
    cosine: float
    """Raw cosine similarity, never rescaled."""
    false_match_rate: float
    """Share of pairs of different people that score as high, by the pack's calibration."""
    band: Literal["high", "medium", "low", "none"] | str


class RecognisedFace(Answer):
    """One face of the picture and who it is."""

    outcome: Literal["match", "unknown", "refused"] | str
    """`match` when the best candidate reaches the threshold, `refused` when the face falls short of the
    quality asked for, or is not live where that is enforced, and was not compared.
    """
    person: CandidateView | None
    """Who it is; null unless it is a match."""
    best_cosine: float | None
    """Of the best candidate; null when there is none, or when it is below the threshold and the caller may
    not read people.
    """
    candidates: list[CandidateView]
    """The `top_k` nearest people, best first. To callers who may not read people only a match is shown."""
    box: Box
    landmarks: Landmarks
    detection_score: float
    quality: QualityView
    liveness: LivenessView
    faults: list[FaultView]
    """Why it was refused."""


class RecognisedPicture(Answer):
    """A picture of a batch that was answered."""

    status: Literal["ok"] = "ok"
    width: int
    """Of the upright picture, in pixels."""
    height: int
    faces: list[RecognisedFace]


class BatchRecognition(Answer):
    """One result for each picture, in the order in which they were sent."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: float
    """The raw cosine that decided."""
    results: list[Annotated[RecognisedPicture | FailedPicture, Field(discriminator="status")]]
    timings: Timings
    """Pictures are worked on side by side: each part is that of the slowest picture."""


class ComparedPicture(Answer):
    """A picture that was compared with the claimed person."""

    status: Literal["ok"] = "ok"
    face: FaceView
    cosine: float | None
    """With the person's nearest face; null as the decision's."""
    false_match_rate: float | None
    band: Literal["high", "medium", "low", "none"] | str | None


class UsedPicture(Answer):
    """A picture of one person that counted."""

    status: Literal["ok"] = "ok"
    face: FaceView


class Identification(Answer):
    """Who the one person in several pictures is."""

    outcome: Literal["match", "unknown", "refused"] | str
    """`match` when the best candidate reaches the threshold, `refused` when the face falls short of the
    quality asked for, or is not live where that is enforced, and was not compared.
    """
    person: CandidateView | None
    """Who it is; null unless it is a match."""
    best_cosine: float | None
    """Of the best candidate; null when there is none, or when it is below the threshold and the caller may
    not read people.
    """
    candidates: list[CandidateView]
    """The `top_k` nearest people, best first. To callers who may not read people only a match is shown."""
    request_id: str
    event_id: str
    pack_id: str
    threshold: float
    """The raw cosine that decided."""
    pictures: list[Annotated[UsedPicture | FailedPicture, Field(discriminator="status")]]
    """What became of each picture, in the order in which they were sent."""
    timings: Timings


class Recognition(Answer):
    """The faces of the picture, the surest detection first; empty when there is none."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: float
    """The raw cosine that decided."""
    width: int
    """Of the upright picture, in pixels."""
    height: int
    faces: list[RecognisedFace]
    timings: Timings


class Verdict(Answer):
    """Who a face or vector is."""

    outcome: Literal["match", "unknown", "refused"] | str
    """`match` when the best candidate reaches the threshold, `refused` when the face falls short of the
    quality asked for, or is not live where that is enforced, and was not compared.
    """
    person: CandidateView | None
    """Who it is; null unless it is a match."""
    best_cosine: float | None
    """Of the best candidate; null when there is none, or when it is below the threshold and the caller may
    not read people.
    """
    candidates: list[CandidateView]
    """The `top_k` nearest people, best first. To callers who may not read people only a match is shown."""


class VectorVerdicts(Answer):
    """Who each vector is, in the order in which they were sent."""

    request_id: str
    event_id: str
    pack_id: str
    threshold: float
    """The raw cosine that decided."""
    results: list[Verdict]
    timings: Timings


class Verification(Answer):
    """Whether the person in the pictures is who they claim to be.

    `cosine`, `false_match_rate`, `band` and `face_id` are null when the person has no face, or when the
    claim failed and the caller may not read people.
    """

    request_id: str
    event_id: str
    pack_id: str
    person_id: str
    verified: bool
    threshold: float
    """The raw cosine that decided."""
    cosine: float | None
    """The mean cosine of the pictures with the person's nearest face."""
    false_match_rate: float | None
    band: Literal["high", "medium", "low", "none"] | str | None
    face_id: str | None
    """The enrolled face that was nearest."""
    pictures: list[Annotated[ComparedPicture | FailedPicture, Field(discriminator="status")]]
    """What became of each picture, in the order in which they were sent."""
    timings: Timings
