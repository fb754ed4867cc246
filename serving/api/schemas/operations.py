"""The service itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.api.schemas.base import Cosine, Schema


class CalibrationPoint(Schema):
    """What a threshold costs."""

    false_match_rate: float
    threshold: Cosine


class ModelView(Schema):
    """The model pack that serves."""

    pack_id: str = Field(examples=["starter-int8"])
    title: str
    licence: str
    dimension: int = Field(description="Numbers in a face vector.")
    default_threshold: Cosine
    calibration: list[CalibrationPoint]
    version: str = Field(description="Rollcall's version.")


class Health(Schema):
    """Whether the service is alive, or ready."""

    status: Literal["ok"]
