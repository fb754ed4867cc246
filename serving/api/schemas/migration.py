"""The move of an event to another model pack."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from serving.api.schemas.base import Schema
from serving.api.schemas.events import EventView


class NewMigration(Schema):
    """Where an event moves to."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"pack_id": "buffalo_sc-int8"}]}
    )

    pack_id: str = Field(max_length=128, description="One of the packs that serve, see `GET /v1/model`.")


class MissingPersonView(Schema):
    """A person who has faces in the event's pack and none yet in the new one."""

    person_id: str
    name: str | None


class MigrationView(Schema):
    """How far an event has moved."""

    event_id: str
    pack_id: str = Field(description="The pack that is searched until the migration is finished.")
    migrating_to: str
    started_at: datetime
    people: int = Field(description="People enrolled.")
    migrated_people: int = Field(description="Of them, those with a face in the new pack.")
    faces: int = Field(description="Faces enrolled.")
    migrated_faces: int = Field(description="Of them, those with a vector of the new pack.")
    missing: list[MissingPersonView] = Field(
        description="People without a face in the new pack, by id; empty for who may not read people."
    )
    next_cursor: str | None = Field(
        description="Give it as `cursor` to get more of `missing`; null at the end. A page may be short or "
        "empty before that."
    )


class FinishedMigrationView(Schema):
    """What became of an event that has moved."""

    event: EventView = Field(description="As it is now, with the pack and the policy that now decide.")
    previous_pack_id: str
    previous_threshold: float | None = Field(
        description="The event's own raw cosine of the previous pack. The policy now holds the false match "
        "rate that it stood for, unless a threshold was given anew; null when the event had none."
    )
    people_without_face: int = Field(
        description="People who were not enrolled into the new pack: they stay enrolled and match nobody."
    )
    without_face: list[str] = Field(description="Their ids, the first 1000 of them.")
    previous_vectors_erased_within_s: int = Field(
        description="By when the last vector of the previous pack is erased from the gallery."
    )
