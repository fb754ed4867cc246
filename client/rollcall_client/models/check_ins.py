"""Made by client_generator from docs/openapi.json: answers of check_ins."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from rollcall_client.models.common import Box, FaultView, Landmarks, LivenessView, QualityView, Timings
from rollcall_client.request import Answer


class ArrivalView(Answer):
    """A person who has arrived."""

    person_id: str
    name: str | None
    first_at: datetime
    """When they arrived."""
    last_at: datetime
    """When they were last seen."""
    times: int
    """How often they came; seen again within ten seconds counts as once."""
    best_cosine: float
    """Of all sightings."""
    place: str | None
    """The last that was named."""


class ArrivalPage(Answer):
    """One page of arrivals, the latest first."""

    check_ins: list[ArrivalView]
    next_cursor: str | None


class AttendanceView(Answer):
    """How full the house is."""

    enrolled: int
    arrived: int
    arrived_last_hour: int


class Attendee(Answer):
    """A person at the door."""

    person_id: str
    name: str | None


class CheckedInFace(Answer):
    """One face at the door: who it is, and whether they have arrived with it."""

    box: Box
    landmarks: Landmarks
    detection_score: float
    quality: QualityView
    liveness: LivenessView
    outcome: Literal["match", "unknown", "refused"] | str
    """`match` when the nearest person reaches the threshold, `refused` when the face falls short of the
    quality asked for, or is not live where that is enforced, and was not compared.
    """
    person: Attendee | None
    """Who it is; null unless it is a match."""
    cosine: float | None
    """With the nearest person; null when there is none, or when it is below the threshold and the caller
    may not read people.
    """
    false_match_rate: float | None
    band: Literal["high", "medium", "low", "none"] | str | None
    arrived: Literal["now", "before"] | str | None
    """`now` when this sighting made them arrive; null unless it is a match."""
    first_at: datetime | None
    """When they arrived."""
    times: int | None
    """How often they came; seen again within ten seconds they are still there."""
    faults: list[FaultView]
    """Why it was refused."""


class CheckIn(Answer):
    """The faces at the door, the surest detection first; empty when there is none."""

    request_id: str
    event_id: str
    threshold: float
    """The raw cosine that decided."""
    width: int
    """Of the upright picture, in pixels."""
    height: int
    at: datetime
    """The moment of the answer, by the service's clock."""
    faces: list[CheckedInFace]
    timings: Timings
