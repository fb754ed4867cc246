"""What is said over a live stream; docs/stream.md explains each message and field."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from rollcall_client.errors import ServiceError
from rollcall_client.models import Box, CandidateView, FaultView, Landmarks, LivenessView, Timings
from rollcall_client.request import Answer


class StreamReady(Answer):
    """The stream is open, and these are its limits."""

    stream_id: str
    event_id: str
    pack_id: str
    threshold: float
    """The raw cosine that decides."""
    frames_per_s: float
    max_frame_bytes: int
    idle_timeout_s: float
    max_duration_s: float
    token_expires_at: datetime | None
    """None where it does not, as with an API key without an end."""


class StreamFace(Answer):
    """One face of a frame."""

    track: int
    """The same number as long as it is the same face of the same stream; never used again there."""
    looked_up: bool
    """Whether the gallery was asked about it in this frame."""
    box: Box
    landmarks: Landmarks | None = None
    detection_score: float
    liveness: LivenessView | None = None
    outcome: Literal["match", "unknown", "refused"] | str
    person: CandidateView | None
    best_cosine: float | None
    candidates: list[CandidateView] | None = None
    faults: list[FaultView]
    arrived: Literal["now", "before"] | str | None = None
    first_at: datetime | None = None
    times: int | None = None


class StreamFaces(Answer):
    """What one frame shows."""

    frame: int
    """Counts the frames of the stream from 1; begins anew when the stream is opened anew."""
    width: int
    height: int
    faces: list[StreamFace]
    dropped: int
    """Frames since the last answer that were passed over, because a newer one had come."""
    refused: int
    """Likewise, because they were more than may be."""
    timings: Timings


@dataclass(frozen=True, slots=True)
class FrameRefused:
    """A frame that was not looked at; the stream goes on.

    Attributes:
        frame: as in `StreamFaces`.
        problem: why.
        is_busy: the service has no room now, and may have for the next frame; else the frame is no picture
            that is accepted.
        dropped, refused: as in `StreamFaces`.
    """

    frame: int
    problem: ServiceError = field(compare=False)
    is_busy: bool
    dropped: int
    refused: int
