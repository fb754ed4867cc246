"""Events."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from serving.api.schemas.base import Cosine, Schema


class NewEvent(Schema):
    """An event to create."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"id": "gala-2026", "name": "Winter gala"}]}
    )

    id: str | None = Field(None, description="Your own id; one is made when it is left out.")
    name: str | None = Field(None, description="For people to read.")
    threshold: Cosine | None = Field(
        None, description="Raw cosine at or above which a face is a match here; default: the pack's."
    )


class EventView(Schema):
    """An event."""

    id: str = Field(examples=["gala-2026"])
    name: str | None = Field(examples=["Winter gala"])
    pack_id: str = Field(description="The model pack whose vectors this event holds.")
    threshold: Cosine | None
    created_at: datetime
    people: int = Field(description="People enrolled.")
    faces: int = Field(description="Faces enrolled.")


class EventPage(Schema):
    """One page of events."""

    events: list[EventView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")
