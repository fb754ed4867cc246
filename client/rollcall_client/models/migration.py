"""Made by client_generator from docs/openapi.json: answers of migration."""

from __future__ import annotations

from datetime import datetime

from rollcall_client.models.common import EventView
from rollcall_client.request import Answer


class FinishedMigrationView(Answer):
    """What became of an event that has moved."""

    event: EventView
    """As it is now, with the pack and the policy that now decide."""
    previous_pack_id: str
    previous_threshold: float | None
    """The event's own raw cosine of the previous pack. The policy now holds the false match rate that it
    stood for, unless a threshold was given anew; null when the event had none.
    """
    people_without_face: int
    """People who were not enrolled into the new pack: they stay enrolled and match nobody."""
    without_face: list[str]
    """Their ids, the first 1000 of them."""
    previous_vectors_erased_within_s: int
    """By when the last vector of the previous pack is erased from the gallery."""


class MissingPersonView(Answer):
    """A person who has faces in the event's pack and none yet in the new one."""

    person_id: str
    name: str | None


class MigrationView(Answer):
    """How far an event has moved."""

    event_id: str
    pack_id: str
    """The pack that is searched until the migration is finished."""
    migrating_to: str
    started_at: datetime
    people: int
    """People enrolled."""
    migrated_people: int
    """Of them, those with a face in the new pack."""
    faces: int
    """Faces enrolled."""
    migrated_faces: int
    """Of them, those with a vector of the new pack."""
    missing: list[MissingPersonView]
    """People without a face in the new pack, by id; empty for who may not read people."""
    next_cursor: str | None
    """Give it as `cursor` to get more of `missing`; null at the end. A page may be short or empty before
    that.
    """
