"""Made by client_generator from docs/openapi.json: requests of check_ins."""

from __future__ import annotations

from datetime import datetime

from rollcall_client.bodies import Picture, make_picture_body
from rollcall_client.models import (
    ArrivalPage,
    AttendanceView,
    CheckIn,
    FaceChoice,
    LivenessMode,
    QualityLevel,
    Strictness,
)
from rollcall_client.request import Request, fill_path


def check_in(
    event: str,
    picture: Picture,
    *,
    threshold: float | None = None,
    false_match_rate: float | None = None,
    strictness: Strictness | None = None,
    faces: FaceChoice | None = None,
    place: str | None = None,
    quality: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
) -> Request[CheckIn]:
    """Check in whoever is at the door."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/check-ins", event=event),
        CheckIn,
        body=make_picture_body(
            picture,
            {
                "threshold": threshold,
                "false_match_rate": false_match_rate,
                "strictness": strictness,
                "faces": faces,
                "place": place,
                "quality": quality,
                "liveness": liveness,
            },
        ),
        takes_timeout=True,
    )


def list_check_ins(
    event: str, *, cursor: str | None = None, limit: int | None = None, since: datetime | None = None
) -> Request[ArrivalPage]:
    """List who has arrived."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/check-ins", event=event),
        ArrivalPage,
        query={"cursor": cursor, "limit": limit, "since": since},
        can_repeat=True,
    )


def get_attendance(event: str) -> Request[AttendanceView]:
    """Count who has arrived."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/check-ins/summary", event=event),
        AttendanceView,
        can_repeat=True,
    )


def undo_check_in(event: str, person: str) -> Request[None]:
    """Undo a check-in."""
    return Request(
        "DELETE",
        fill_path("/v1/events/{event}/check-ins/{person}", event=event, person=person),
        None,
        can_repeat=True,
    )
