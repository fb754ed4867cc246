"""Made by client_generator from docs/openapi.json: requests of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rollcall_client.bodies import UNSET, JsonBody, Picture, Unset, make_picture_body
from rollcall_client.models import (
    Enrolment,
    FacePage,
    LivenessMode,
    PeoplePage,
    PersonView,
    QualityLevel,
    SingleFace,
)
from rollcall_client.request import Request, fill_path, make_key_header


def enrol(
    event: str,
    pictures: Picture | Sequence[Picture],
    *,
    consent_reference: str | None = None,
    face: SingleFace | None = None,
    quality: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
    on_duplicate: Literal["refuse", "allow"] | None = None,
    person_id: str | None = None,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Request[Enrolment]:
    """Enrol a person."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/people", event=event),
        Enrolment,
        body=make_picture_body(
            pictures,
            {
                "consent_reference": consent_reference,
                "face": face,
                "quality": quality,
                "liveness": liveness,
                "on_duplicate": on_duplicate,
                "person_id": person_id,
                "name": name,
                "metadata": metadata,
            },
        ),
        headers=make_key_header(idempotency_key),
        takes_timeout=True,
    )


def list_people(
    event: str, *, cursor: str | None = None, limit: int | None = None, name: str | None = None
) -> Request[PeoplePage]:
    """List people."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/people", event=event),
        PeoplePage,
        query={"cursor": cursor, "limit": limit, "name": name},
        can_repeat=True,
    )


def get_person(event: str, person: str) -> Request[PersonView]:
    """Look at a person."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/people/{person}", event=event, person=person),
        PersonView,
        can_repeat=True,
    )


def change_person(
    event: str,
    person: str,
    *,
    name: str | Unset | None = UNSET,
    metadata: Mapping[str, Any] | Unset | None = UNSET,
    consent_reference: str | Unset | None = UNSET,
) -> Request[PersonView]:
    """Change a person."""
    return Request(
        "PATCH",
        fill_path("/v1/events/{event}/people/{person}", event=event, person=person),
        PersonView,
        body=JsonBody(
            {"name": name, "metadata": metadata, "consent_reference": consent_reference},
            "application/merge-patch+json",
        ),
        can_repeat=True,
        takes_timeout=True,
    )


def delete_person(event: str, person: str) -> Request[None]:
    """Erase a person."""
    return Request(
        "DELETE",
        fill_path("/v1/events/{event}/people/{person}", event=event, person=person),
        None,
        can_repeat=True,
        takes_timeout=True,
    )


def add_faces(
    event: str,
    person: str,
    pictures: Picture | Sequence[Picture],
    *,
    consent_reference: str | None = None,
    face: SingleFace | None = None,
    quality: QualityLevel | None = None,
    liveness: LivenessMode | None = None,
    on_duplicate: Literal["refuse", "allow"] | None = None,
    idempotency_key: str | None = None,
) -> Request[Enrolment]:
    """Add faces to a person."""
    return Request(
        "POST",
        fill_path("/v1/events/{event}/people/{person}/faces", event=event, person=person),
        Enrolment,
        body=make_picture_body(
            pictures,
            {
                "consent_reference": consent_reference,
                "face": face,
                "quality": quality,
                "liveness": liveness,
                "on_duplicate": on_duplicate,
            },
        ),
        headers=make_key_header(idempotency_key),
        takes_timeout=True,
    )


def list_faces(
    event: str, person: str, *, cursor: str | None = None, limit: int | None = None
) -> Request[FacePage]:
    """List a person's faces."""
    return Request(
        "GET",
        fill_path("/v1/events/{event}/people/{person}/faces", event=event, person=person),
        FacePage,
        query={"cursor": cursor, "limit": limit},
        can_repeat=True,
    )


def delete_face(event: str, person: str, face: str) -> Request[None]:
    """Erase a face."""
    return Request(
        "DELETE",
        fill_path("/v1/events/{event}/people/{person}/faces/{face}", event=event, person=person, face=face),
        None,
        can_repeat=True,
        takes_timeout=True,
    )
