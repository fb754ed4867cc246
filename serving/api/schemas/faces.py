"""A face as every route shows it: where it is, how good it is, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serving.api.schemas.base import Box, Landmarks, Schema


class FaultView(Schema):
    """One way in which a face falls short of a quality level."""

    reason: str = Field(description="Stable; branch on this.", examples=["too_blurred"])
    value: float | None = Field(description="What was measured.")
    limit: float | None = Field(description="What the level asks for.")
    hint: str = Field(description="What to do about it, for the person at the camera.")


class FaceView(Schema):
    """A face in a picture."""

    box: Box
    landmarks: Landmarks
    detection_score: float = Field(ge=0, le=1)


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
    embed_ms: float = Field(0.0, description="From faces to vectors.")
    match_ms: float = Field(0.0, description="Comparing vectors.")
    names_ms: float = Field(0.0, description="Looking up who is enrolled.")
    total_ms: float = 0.0
