"""Made by client_generator from docs/openapi.json: answers of operations."""

from __future__ import annotations

from typing import Literal

from rollcall_client.request import Answer


class CalibrationPoint(Answer):
    """What a threshold costs."""

    false_match_rate: float
    threshold: float
    """Raw cosine similarity, never rescaled."""


class Health(Answer):
    """Whether the service is alive, or ready."""

    status: Literal["ok"]


class LivenessPackView(Answer):
    """The models that tell live faces from pictures of faces."""

    pack_id: str
    title: str
    licence: str
    threshold: float
    """Score from which a face counts as live."""
    threshold_provenance: str | None
    """What that rests on; null when the settings give another than the pack's own."""


class PackView(Answer):
    """A model pack that serves."""

    pack_id: str
    title: str
    licence: str
    dimension: int
    """Numbers in a face vector."""
    default_threshold: float
    """Raw cosine similarity, never rescaled."""
    calibration: list[CalibrationPoint]


class ModelView(Answer):
    """The default model pack, and all that serve."""

    pack_id: str
    title: str
    licence: str
    dimension: int
    """Numbers in a face vector."""
    default_threshold: float
    """Raw cosine similarity, never rescaled."""
    calibration: list[CalibrationPoint]
    liveness: LivenessPackView | None
    """Null where no liveness model is configured."""
    packs: list[PackView]
    """Every pack that serves, the default one first."""
    version: str
    """Rollcall's version."""
