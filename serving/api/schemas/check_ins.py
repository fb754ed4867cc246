"""Who has arrived at an event."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from serving.api.schemas.base import Cosine, Schema
from serving.api.schemas.faces import FaceView, FaultView, Timings
from serving.api.schemas.recognition import Rate
from serving.packs.calibration import Band


class Attendee(Schema):
    """A person at the door."""

    person_id: str = Field(examples=["ada"])
    name: str | None = Field(examples=["Ada Lovelace"])


class CheckedInFace(FaceView):
    """One face at the door: who it is, and whether they have arrived with it."""

    outcome: Literal["match", "unknown", "refused"] = Field(
        description="`match` when the nearest person reaches the threshold, `refused` when the face falls "
        "short of the quality asked for, or is not live where that is enforced, and was not compared."
    )
    person: Attendee | None = Field(description="Who it is; null unless it is a match.")
    cosine: Cosine | None = Field(
        description="With the nearest person; null when there is none, or when it is below the threshold and "
        "the caller may not read people."
    )
    false_match_rate: Rate | None
    band: Band | None
    arrived: Literal["now", "before"] | None = Field(
        description="`now` when this sighting made them arrive; null unless it is a match."
    )
    first_at: datetime | None = Field(description="When they arrived.")
    times: int | None = Field(
        description="How often they came; seen again within ten seconds they are still there."
    )
    faults: list[FaultView] = Field(description="Why it was refused.")


class CheckIn(Schema):
    """The faces at the door, the surest detection first; empty when there is none."""

    request_id: str
    event_id: str
    threshold: Cosine = Field(description="The raw cosine that decided.")
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    at: datetime = Field(description="The moment of the answer, by the service's clock.")
    faces: list[CheckedInFace]
    timings: Timings


class ArrivalView(Schema):
    """A person who has arrived."""

    person_id: str = Field(examples=["ada"])
    name: str | None = Field(examples=["Ada Lovelace"])
    first_at: datetime = Field(description="When they arrived.")
    last_at: datetime = Field(description="When they were last seen.")
    times: int = Field(ge=1, description="How often they came; seen again within ten seconds counts as once.")
    best_cosine: Cosine = Field(description="Of all sightings.")
    place: str | None = Field(description="The last that was named.", examples=["north door"])


class ArrivalPage(Schema):
    """One page of arrivals, the latest first."""

    check_ins: list[ArrivalView]
    next_cursor: str | None


class AttendanceView(Schema):
    """How full the house is."""

    enrolled: int
    arrived: int
    arrived_last_hour: int
