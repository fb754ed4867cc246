"""What the registry returns and takes: immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Place:
    """Where vectors of an event lie: a partition of the gallery's collection of a pack.

    A partition holds vectors of one pack and one event for ever. Its name is random and never used again, so
    what is erased of it late, or stored in it too late, concerns nobody else.

    Attributes:
        pack_id: None where it was not noted: then it is one of the packs that ever served.
        partition: its name.
    """

    pack_id: str | None
    partition: str


@dataclass(frozen=True, slots=True)
class Event:
    """An event.

    Attributes:
        key: what it is known by inside; never reused, also not when an event of the same id is created again.
        id: what callers name it by; unique among the events that are not being deleted.
        name: for people to read, or None.
        pack_id: the model pack all its faces are embedded with, and searched by.
        threshold: the cosine from which a match counts, in place of the pack's own; or None.
        created_at: in UTC.
        state: "open" or "deleting".
        target_false_match_rate, strictness: the other two forms of the decision policy; with `threshold` at
            most one of the three is given.
        request_policy: which thresholds requests may ask for: "none", "stricter" or "any".
        quality_level: what faces are held to: "off", "standard", "strict"; None: as the settings say.
        retention_days: after so many days without change a person is erased; None: never.
        consent_required: whether nobody is enrolled without a consent reference.
        closed_at: since when nobody is enrolled or recognised, or None.
        partition: of the gallery, where the vectors of `pack_id` lie.
        migrating_to: the pack that the event moves to, or None. Until it has, that pack's vectors are
            written and not read.
        next_partition: where those lie, or None.
        migration_started_at: or None.
        liveness: what becomes of faces that are not live: "off", "observe", "enforce"; None: as the settings
            say.
        people, faces: how many are enrolled, where they were counted (in lists); else None.
    """

    key: str
    id: str
    name: str | None
    pack_id: str
    threshold: float | None
    created_at: datetime
    state: str
    target_false_match_rate: float | None = None
    strictness: str | None = None
    request_policy: str = "stricter"
    quality_level: str | None = None
    retention_days: int | None = None
    consent_required: bool = False
    closed_at: datetime | None = None
    partition: str = ""
    migrating_to: str | None = None
    next_partition: str | None = None
    migration_started_at: datetime | None = None
    liveness: str | None = None
    people: int | None = None
    faces: int | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """Where its vectors are stored: first those that are searched, then those of the pack it moves to."""
        here = Place(self.pack_id, self.partition)
        if self.migrating_to is None or self.next_partition is None:
            return (here,)
        return (here, Place(self.migrating_to, self.next_partition))


class EventFields(TypedDict, total=False):
    """What an event may be created with, and what of it may be changed; see `Event`.

    Of `threshold`, `target_false_match_rate` and `strictness` at most one is not None.
    """

    name: str | None
    threshold: float | None
    target_false_match_rate: float | None
    strictness: str | None
    request_policy: str
    quality_level: str | None
    retention_days: int | None
    consent_required: bool
    liveness: str | None


@dataclass(frozen=True, slots=True)
class NewFace:
    """A face about to be enrolled: its id and the detector's score, 0 to 1."""

    id: str
    detection_score: float | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A person at an event, with the ids of all faces whose enrolment is finished, in order.

    `metadata` is a JSON object of the caller's; `consent_reference` names the consent in their own records.
    """

    event_key: str
    id: str
    name: str | None
    created_at: datetime
    updated_at: datetime
    face_ids: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None
    consent_reference: str | None = None


@dataclass(frozen=True, slots=True)
class PersonSummary:
    """A person in a list, with the number of enrolled faces."""

    id: str
    name: str | None
    created_at: datetime
    updated_at: datetime
    faces: int
    metadata: Mapping[str, Any] | None = None
    consent_reference: str | None = None


@dataclass(frozen=True, slots=True)
class FaceSummary:
    """An enrolled face of a person; `detection_score` is the detector's, 0 to 1, where it is known."""

    id: str
    created_at: datetime
    detection_score: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many people and faces are enrolled at an event."""

    people: int
    faces: int


@dataclass(frozen=True, slots=True)
class StaleEnrolment:
    """Faces of one person that were begun and neither finished nor abandoned."""

    event_key: str
    person_id: str
    face_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Erasure:
    """Vectors to erase once more: of a person, all but the known faces', or of a whole place.

    Attributes:
        id: new each time the erasure is planned anew.
        person_id: None for a whole place, which is then given.
    """

    id: str
    event_key: str
    person_id: str | None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Part of a list; `next` asks for the following part and is None at the end."""

    items: tuple[Item, ...]
    next: str | None
