"""What several subjects share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Cosine = Annotated[float, Field(ge=-1, le=1, description="Raw cosine similarity, never rescaled.")]


class Schema(BaseModel):
    """Base of all: a field that is not named here is an error."""

    model_config = ConfigDict(extra="forbid")


class Box(Schema):
    """Where a face is, in pixels of the upright picture; a face cut by the edge reaches beyond it."""

    x: float
    y: float
    width: float
    height: float


class Landmarks(Schema):
    """Five points (x, y) in pixels; left and right as seen in the picture."""

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    nose: tuple[float, float]
    left_mouth: tuple[float, float]
    right_mouth: tuple[float, float]
