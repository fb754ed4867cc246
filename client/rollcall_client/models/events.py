"""Made by client_generator from docs/openapi.json: answers of events."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from rollcall_client.models.common import EventView
from rollcall_client.request import Answer


class EventPage(Answer):
    """One page of events."""

    events: list[EventView]
    next_cursor: str | None
    """Give it as `cursor` to get the next page; null at the end."""


class ScoreBin(Answer):
    """Faces whose best candidate's cosine was at least `from` and below `to`."""

    from_: float = Field(alias="from")
    """Raw cosine similarity, never rescaled."""
    to: float
    """Raw cosine similarity, never rescaled."""
    matches: int
    unknowns: int


class EventStatistics(Answer):
    """What became of the faces in the pictures that were recognised at an event."""

    event_id: str
    people: int
    """People enrolled."""
    faces: int
    """Faces enrolled."""
    recognitions: int
    """Pictures answered, each of a batch too."""
    recognised_faces: int
    """Faces found in them: the sum of the next three."""
    matches: int
    unknowns: int
    refusals: int
    """Faces that a quality gate refused, where one was asked for, or enforced liveness."""
    spoofs: int
    """Of the faces, those taken for presentation attacks, where liveness was asked for."""
    counted_since: datetime | None
    """When the first picture was counted; null before that."""
    scores: list[ScoreBin]
    """How often the best candidate's cosine fell where, in steps of 0.02; empty steps are left out. Faces
    without any candidate are in none.
    """
