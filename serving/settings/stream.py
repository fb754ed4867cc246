"""Live video over WebSockets."""

from __future__ import annotations

from pydantic import Field, model_validator

from serving.settings.section import Section


class StreamSettings(Section):
    """Live video: how many streams one ingress replica serves, and how much one of them may ask."""

    max_open: int = Field(
        32, ge=1, le=10_000, description="Streams of one ingress replica; more are refused."
    )
    max_per_caller: int = Field(
        8, ge=1, le=10_000, description="Of them, those of one account, its keys included."
    )
    frames_per_s: float = Field(
        10.0, gt=0, le=120, description="Frames a second that one stream may send; more are passed over."
    )
    max_frame_bytes: int = Field(
        2**20, ge=1024, le=8 * 2**20, description="Of one frame; a larger one is refused, the stream goes on."
    )
    idle_timeout_s: float = Field(60.0, ge=1, le=3600, description="Without a frame a stream is ended.")
    max_duration_s: float = Field(
        12 * 3600.0,
        ge=1,
        le=7 * 86400,
        description="After which every stream is ended; clients connect anew.",
    )
    recheck_s: float = Field(
        5.0,
        ge=0.1,
        le=300,
        description="How often a stream looks whether token, event and those it names are still there.",
    )
    retry_s: float = Field(
        1.0,
        ge=0.1,
        le=60,
        description="After which a face that stayed unknown is looked up again; each time twice as long, up "
        "to eight times.",
    )
    lost_after_s: float = Field(
        1.0,
        ge=0.1,
        le=60,
        description="A face not seen for so long is somebody new when it is seen again, wherever that is.",
    )

    @model_validator(mode="after")
    def _caller_fits(self) -> StreamSettings:
        if self.max_per_caller > self.max_open:
            raise ValueError(f"max_per_caller is {self.max_per_caller}, above max_open, {self.max_open}")
        return self
