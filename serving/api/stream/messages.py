"""What is said over a stream, beside the frames themselves; docs/stream.md explains each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from serving.api.options import RecognitionOptions
from serving.api.schemas.base import Box, Landmarks
from serving.api.schemas.faces import FaultView, LivenessView, Timings
from serving.api.schemas.recognition import CandidateView
from serving.errors import InvalidRequest
from serving.registry.attendance import MAX_PLACE_CHARS

MAX_TEXT_CHARS = 20_000
"""Of a text message: twice the longest token, and the options."""

Credential = SecretStr


class Start(RecognitionOptions):
    """The first message of a client: what the stream is to do, and who asks unless a header has said so."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["start"]
    token: Credential | None = None
    landmarks: bool = False
    check_in: bool = False
    place: str | None = Field(None, min_length=1, max_length=MAX_PLACE_CHARS)


class Renewal(BaseModel):
    """A newer token of the same caller, before the one in use expires."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["token"]
    token: Credential


class Ready(BaseModel):
    """The stream is open; frames may come."""

    type: Literal["ready"] = "ready"
    stream_id: str
    event_id: str
    pack_id: str
    threshold: float
    frames_per_s: float
    max_frame_bytes: int
    idle_timeout_s: float
    max_duration_s: float
    token_expires_at: datetime | None


class StreamFace(BaseModel):
    """One face of a frame; the fields that recognition has too mean the same."""

    track: int
    looked_up: bool
    box: Box
    landmarks: Landmarks | None = None
    detection_score: float
    liveness: LivenessView | None = None
    outcome: Literal["match", "unknown", "refused"]
    person: CandidateView | None
    best_cosine: float | None
    candidates: list[CandidateView] | None = None
    faults: list[FaultView]
    arrived: Literal["now", "before"] | None = None
    first_at: datetime | None = None
    times: int | None = None


class Faces(BaseModel):
    """What one frame shows.

    `dropped` and `refused`: frames since the last answer that were passed over, because a newer one had come,
    and because there were more than may be.
    """

    type: Literal["faces"] = "faces"
    frame: int
    width: int
    height: int
    faces: list[StreamFace]
    dropped: int
    refused: int
    timings: Timings


def read_message(text: str) -> Start | Renewal:
    """A text message of a client.

    Raises:
        InvalidRequest: none of ours.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidRequest("The message is too long.", max_chars=MAX_TEXT_CHARS)
    try:
        return _MESSAGE.validate_json(text)
    except ValidationError as error:
        # What was sent is left out: it may be a token.
        problems = [
            {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ][:10]
        detail = "; ".join(f"{each['field']}: {each['problem']}" for each in problems)[:1000]
        raise InvalidRequest(detail, errors=problems) from None


_MESSAGE: TypeAdapter[Start | Renewal] = TypeAdapter(Annotated[Start | Renewal, Field(discriminator="type")])


def describe_problem(problem: dict[str, Any], kind: str, frame: int | None) -> dict[str, Any]:
    """A problem document as a message of type `busy`, `problem` or `end`."""
    return {"type": kind, "frame": frame, "problem": problem}
