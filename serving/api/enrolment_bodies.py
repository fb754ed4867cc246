"""The bodies of the routes that enrol, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.api.openapi import inline_schema
from serving.api.recognition_bodies import options_body
from serving.api.schemas.people import FaceQuery, PersonChange, PersonFields

ENROLMENT_BODY = options_body(
    "Pictures of one person, one face of each: JPEG, PNG or WebP.",
    PersonFields,
    {"person_id": "ada", "name": "Ada Lovelace", "metadata": {"table": 7}},
    several=True,
)
FACES_BODY = options_body(
    "Pictures of one person, one face of each: JPEG, PNG or WebP.",
    FaceQuery,
    {"face": "largest", "quality": "strict"},
    several=True,
)

_CHANGE = {"schema": inline_schema(PersonChange)}

CHANGE_BODY: dict[str, Any] = {
    "required": True,
    "description": "What to change: a merge patch (RFC 7396).",
    "content": {"application/merge-patch+json": _CHANGE, "application/json": _CHANGE},
}
