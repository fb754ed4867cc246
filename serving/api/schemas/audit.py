"""The audit trail as clients see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from serving.api.schemas.base import Schema


class AuditEntryView(Schema):
    """Who did what, to which event and person, when, from where, with what outcome."""

    id: int = Field(examples=[4711])
    at: datetime = Field(examples=["2026-05-01T18:02:11.482913Z"])
    actor_kind: Literal["account", "api_key", "service", "anonymous"] = Field(examples=["account"])
    actor_id: str | None = Field(description="Of the account or the key.", examples=["0b5c1d2e"])
    actor: str | None = Field(
        description="Name of the account; of a key, of the account that made it.", examples=["ada"]
    )
    action: str = Field(description="docs/audit.md lists them.", examples=["people.enrol"])
    event_id: str | None = Field(examples=["gala-2026"])
    person_id: str | None = Field(examples=["guest-7"])
    outcome: str = Field(description="`ok`, or the code of the error.", examples=["ok"])
    status: int | None = Field(description="Of the answer; 499 when the caller had gone.", examples=[201])
    address: str | None = Field(
        description="Of the client, where a trusted proxy vouches for it.", examples=["203.0.113.9"]
    )
    request_id: str | None = Field(examples=["7f9c2ba4-e88f-4b8c-9d5a-0f3c2f1f2d11"])
    details: dict[str, Any] | None = Field(
        description="Counts and ids; never a face, a picture or a secret.", examples=[{"faces": 2}]
    )


class AuditPage(Schema):
    """A part of the trail, newest first."""

    entries: list[AuditEntryView]
    next_cursor: str | None = Field(
        description="For the following page; null at the end. A page may be short and not be the last."
    )
