"""What a picture may be, how faces are judged, who may be enrolled."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from serving.settings.section import Section
from serving.vision.liveness_modes import LivenessMode
from serving.vision.picture import PictureLimits
from serving.vision.quality_gates import QualityLevel


class PictureSettings(Section):
    """What a picture may be."""

    max_bytes: int = Field(10 * 2**20, ge=1024, description="Largest picture file, in bytes.")
    max_pixels: int = Field(40_000_000, ge=4096, description="Largest width x height.")
    min_side_px: int = Field(32, ge=8)
    max_per_request: int = Field(10, ge=1, le=100, description="Pictures in one enrolment.")
    detection_side_px: int = Field(
        640, ge=64, le=4096, description="Longer side of what the detector sees; larger finds smaller faces."
    )
    detection_scales: Literal["auto", "one", "all"] = Field(
        "auto",
        description="`auto`: small scales first, larger ones where faces may be too small for them; "
        "`one`: detection_side_px alone; `all`: every scale, for each picture.",
    )
    max_faces: int = Field(100, ge=1, le=1000, description="Faces answered per picture, the surest first.")

    @property
    def limits(self) -> PictureLimits:
        """What a single picture is held to."""
        return PictureLimits(
            max_bytes=self.max_bytes, max_pixels=self.max_pixels, min_side_px=self.min_side_px
        )

    @model_validator(mode="after")
    def _some_picture_fits(self) -> PictureSettings:
        if self.min_side_px**2 > self.max_pixels:
            raise ValueError(
                f"min_side_px is {self.min_side_px}: a square of it is above max_pixels, {self.max_pixels}"
            )
        return self


class RecognitionSettings(Section):
    """How a probe is decided."""

    threshold: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Raw cosine of the default pack at or above which it is a match; None: the pack's own.",
    )
    false_match_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="In place of a threshold, and for every pack: share of pairs of different people that "
        "may match.",
    )
    top_k: int = Field(1, ge=1, le=100, description="Candidates answered per face when none is asked for.")
    max_top_k: int = Field(20, ge=1, le=100)

    @model_validator(mode="after")
    def _default_is_allowed(self) -> RecognitionSettings:
        if self.top_k > self.max_top_k:
            raise ValueError(f"top_k is {self.top_k}, above max_top_k, {self.max_top_k}")
        return self

    @model_validator(mode="after")
    def _decides_one_way(self) -> RecognitionSettings:
        if self.threshold is not None and self.false_match_rate is not None:
            raise ValueError("give threshold or false_match_rate, not both")
        return self


class QualitySettings(Section):
    """How good a face must be."""

    enrolment_level: QualityLevel = Field(
        QualityLevel.standard, description="Of events that do not say: off, standard or strict."
    )


class LivenessSettings(Section):
    """Whether faces are checked for being live, and by which model."""

    model: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Id of a liveness pack, such as `minifasnet`; none: there is no liveness stage.",
    )
    default_mode: LivenessMode = Field(
        LivenessMode.off, description="Of events that do not say: off, observe or enforce."
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Score from which a face counts as live; None: the pack's own."
    )

    @model_validator(mode="after")
    def _modes_need_a_model(self) -> LivenessSettings:
        if self.default_mode is not LivenessMode.off and self.model is None:
            raise ValueError(f"default_mode `{self.default_mode.value}` needs liveness.model")
        return self


class EnrolmentSettings(Section):
    """Who may be enrolled."""

    on_duplicate: Literal["refuse", "allow"] = Field(
        "refuse", description="What becomes of a face that matches another person, unless the request says."
    )
    idempotency_s: int = Field(86400, ge=60, le=30 * 86400, description="How long a retry is known as one.")
