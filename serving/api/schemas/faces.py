"""A face as every route shows it: where it is, how good it is, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serving.api.schemas.base import Box, Landmarks, Schema
from serving.vision.liveness_modes import LivenessStatus
from serving.vision.quality_gates import QualityReason


class FaultView(Schema):
    """One way in which a face falls short of a quality level."""

    reason: QualityReason = Field(description="Stable; branch on this.")
    value: float = Field(description="What was measured; of an angle, its amount without sign.")
    limit: float = Field(description="The smallest or largest value that would have been good enough.")
    hint: str = Field(description="What to do about it, for the person at the camera.")


class QualityView(Schema):
    """What was measured of a face, whatever level is asked for; docs/quality.md explains the measures."""

    face_px: float = Field(description="Shorter side of the box, in pixels of the picture.")
    sharpness: float = Field(description="0 to about 1.5; below 0.55 a face is blurred.")
    brightness: float = Field(description="Mean luma of the face, 0 to 255.")
    contrast: float = Field(description="From the 5th to the 95th percentile of the luma, 0 to 255.")
    yaw_degrees: float = Field(description="Positive when the nose points to the right of the picture.")
    pitch_degrees: float = Field(description="Positive when the head looks up.")
    roll_degrees: float = Field(description="Positive when the head is turned clockwise in the picture.")
    cut_fraction: float = Field(description="Share of the box that lies outside the picture, 0 to 1.")


class LivenessView(Schema):
    """Whether the face is that of a person before the camera; docs/liveness.md says how far to trust it."""

    status: LivenessStatus = Field(
        description="`not_checked`: nobody asked, or the picture shows too little around the face; "
        "`unavailable`: the check did not answer in time."
    )
    score: float | None = Field(
        ge=0, le=1, description="How probably it is live; null to callers who may not read people."
    )
    threshold: float | None = Field(ge=0, le=1, description="From which score it counts as live.")


class FaceView(Schema):
    """A face in a picture."""

    box: Box
    landmarks: Landmarks
    detection_score: float = Field(ge=0, le=1)
    quality: QualityView
    liveness: LivenessView


class ProblemView(Schema):
    """What went wrong with one picture of several; as in an error answer of its own."""

    code: str = Field(description="Stable; branch on this.", examples=["no_face"])
    title: str
    detail: str
    cure: str
    context: dict[str, Any]


class Timings(Schema):
    """Milliseconds spent on each part; 0 where there was nothing to do."""

    read_ms: float = Field(0.0, description="Until the whole request had arrived and was understood.")
    detect_ms: float = Field(0.0, description="Decoding, finding and aligning faces.")
    liveness_ms: float = Field(0.0, description="Telling live faces from pictures of faces, where enforced.")
    embed_ms: float = Field(0.0, description="From faces to vectors.")
    match_ms: float = Field(0.0, description="Comparing vectors.")
    names_ms: float = Field(0.0, description="Looking up who is enrolled.")
    total_ms: float = 0.0
