"""The service itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.api.schemas.base import Cosine, Schema


class CalibrationPoint(Schema):
    """What a threshold costs."""

    false_match_rate: float
    threshold: Cosine


class PackView(Schema):
    """A model pack that serves."""

    pack_id: str = Field(examples=["starter-int8"])
    title: str
    licence: str
    dimension: int = Field(description="Numbers in a face vector.")
    default_threshold: Cosine
    calibration: list[CalibrationPoint]


class LivenessPackView(Schema):
    """The models that tell live faces from pictures of faces."""

    pack_id: str = Field(examples=["minifasnet"])
    title: str
    licence: str
    threshold: float = Field(ge=0, le=1, description="Score from which a face counts as live.")
    threshold_provenance: str | None = Field(
        description="What that rests on; null when the settings give another than the pack's own."
    )


class ModelView(PackView):
    """The default model pack, and all that serve."""

    liveness: LivenessPackView | None = Field(description="Null where no liveness model is configured.")
    packs: list[PackView] = Field(description="Every pack that serves, the default one first.")
    version: str = Field(description="Rollcall's version.")


class Health(Schema):
    """Whether the service is alive, or ready."""

    status: Literal["ok"]
