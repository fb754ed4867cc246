"""Made by client_generator from docs/openapi.json: requests of events."""

from __future__ import annotations

from rollcall_client.bodies import UNSET, JsonBody, Unset
from rollcall_client.inputs import EventPolicyInput
from rollcall_client.models import (
    EventPage,
    EventStatistics,
    EventView,
    LivenessMode,
    QualityLevel,
    RequestPolicy,
)
from rollcall_client.request import Request, drop_none, fill_path, make_key_header


def create_event(
    *,
    name: str | None = None,
    policy: EventPolicyInput | None = None,
    request_policy: RequestPolicy | None = None,
    quality_level: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
    retention_days: int | None = None,
    consent_required: bool | None = None,
    id: str | None = None,
    pack_id: str | None = None,
    idempotency_key: str | None = None,
) -> Request[EventView]:
    """Create an event."""
    return Request(
        "POST",
        "/v1/events",
        EventView,
        body=JsonBody(
            drop_none(
                {
                    "name": name,
                    "policy": policy,
                    "request_policy": request_policy,
                    "quality_level": quality_level,
                    "liveness": liveness,
                    "retention_days": retention_days,
                    "consent_required": consent_required,
                    "id": id,
                    "pack_id": pack_id,
                }
            )
        ),
        headers=make_key_header(idempotency_key),
        takes_timeout=True,
    )


def list_events(
    *, cursor: str | None = None, limit: int | None = None, closed: bool | None = None
) -> Request[EventPage]:
    """List events."""
    return Request(
        "GET",
        "/v1/events",
        EventPage,
        query={"cursor": cursor, "limit": limit, "closed": closed},
        can_repeat=True,
    )


def get_event(event: str) -> Request[EventView]:
    """Look at an event."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}", event=event),
        EventView,
        can_repeat=True,
    )


def change_event(
    event: str,
    *,
    name: str | Unset | None = UNSET,
    policy: EventPolicyInput | Unset | None = UNSET,
    request_policy: RequestPolicy | Unset | None = UNSET,
    quality_level: QualityLevel | Unset | None = UNSET,
    liveness: LivenessMode | Unset | None = UNSET,
    retention_days: int | Unset | None = UNSET,
    consent_required: bool | Unset | None = UNSET,
) -> Request[EventView]:
    """Change an event."""
    return Request(
        "PATCH",
        fill_path("/v1/events/{event}", event=event),
        EventView,
        body=JsonBody(
            {
                "name": name,
                "policy": policy,
                "request_policy": request_policy,
                "quality_level": quality_level,
                "liveness": liveness,
                "retention_days": retention_days,
                "consent_required": consent_required,
            },
            "application/merge-patch+json",
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def delete_event(event: str) -> Request[None]:
    """Delete an event and everyone in it."""
    return Request(
        "DELETE",
        fill_path("/v1/events/{event}", event=event),
        None,
        can_repeat=True,
        takes_timeout=True,
    )


def close_event(event: str) -> Request[EventView]:
    """Close an event."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/close", event=event),
        EventView,
        can_repeat=True,
    )


def reopen_event(event: str) -> Request[EventView]:
    """Reopen an event."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/reopen", event=event),
        EventView,
        can_repeat=True,
    )


def get_statistics(event: str) -> Request[EventStatistics]:
    """What became of the faces at an event."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/statistics", event=event),
        EventStatistics,
        can_repeat=True,
    )
