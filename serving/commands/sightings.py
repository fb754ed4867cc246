"""Who is in view of a live stream, since when, and who has left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollcall_client import StreamFace, StreamFaces

LEAVES_AFTER_S = 1.0
"""Whoever was not seen for so long has left; as long as the service follows a face that is lost."""


@dataclass(slots=True)
class Sighting:
    """Somebody in view.

    Attributes:
        person_id, name: None for somebody unknown.
        since_s, last_s: when first and last seen, in the time of the source.
        cosine: the best one so far; None where the service tells none.
        false_match_rate: that `cosine` stands for.
        arrived: "now" or "before" where people are checked in.
    """

    person_id: str | None
    name: str | None
    since_s: float
    last_s: float
    cosine: float | None = None
    false_match_rate: float | None = None
    arrived: str | None = None

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "outcome": "unknown" if self.person_id is None else "match",
            "person_id": self.person_id,
            "name": self.name,
            "cosine": self.cosine,
            "false_match_rate": self.false_match_rate,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """Somebody appeared or left, at this time of the source."""

    kind: str
    at_s: float
    sighting: Sighting

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        told = {"type": self.kind, "at_s": round(self.at_s, 3), **self.sighting.describe()}
        if self.kind == "left":
            return {**told, "in_view_s": round(self.sighting.last_s - self.sighting.since_s, 3)}
        return told if self.sighting.arrived is None else {**told, "arrived": self.sighting.arrived}


class Sightings:
    """Follows people by their id, and the unknown by their track."""

    def __init__(self, leaves_after_s: float = LEAVES_AFTER_S) -> None:
        self._leaves_after_s = leaves_after_s
        self._in_view: dict[tuple[str, ...], Sighting] = {}
        self.people: dict[str, str | None] = {}
        """Everybody who was recognised, with their name."""
        self.unknown = 0
        """How many unknown faces there have been."""

    @property
    def in_view(self) -> list[Sighting]:
        """Who is there now: people first, each group by when they came. Any thread may ask."""
        return sorted(self._in_view.values(), key=lambda each: (each.person_id is None, each.since_s))

    def note(self, at_s: float, seen: StreamFaces, stream_id: str) -> list[Change]:
        """Take what a frame shows; who has appeared and left by it.

        Args:
            stream_id: tracks of different streams are different.
        """
        changes: list[Change] = []
        shown = {self._name(face, stream_id): face for face in seen.faces if face.outcome != "refused"}
        known: set[tuple[str, ...]] = {
            (stream_id, str(face.track)) for face in seen.faces if face.person is not None
        }
        for key in [key for key in self._in_view if key in known]:
            changes.append(Change("left", at_s, self._in_view.pop(key)))  # it turned out to be somebody known
        for key, face in shown.items():
            sighting = self._in_view.get(key)
            if sighting is None:
                sighting = self._in_view[key] = _begin(face, at_s)
                changes.append(Change("appeared", at_s, sighting))
                if face.person is None:
                    self.unknown += 1
                else:
                    self.people[face.person.person_id] = face.person.name
            _update(sighting, face, at_s)
        return changes + self.expire(at_s)

    def expire(self, at_s: float) -> list[Change]:
        """Who has left by now."""
        gone = [key for key, each in self._in_view.items() if at_s - each.last_s > self._leaves_after_s]
        return [Change("left", at_s, self._in_view.pop(key)) for key in gone]

    def end(self, at_s: float) -> list[Change]:
        """The source has ended: everybody leaves."""
        gone = [Change("left", at_s, each) for each in self.in_view]
        self._in_view.clear()
        return gone

    @staticmethod
    def _name(face: StreamFace, stream_id: str) -> tuple[str, ...]:
        return (stream_id, str(face.track)) if face.person is None else (face.person.person_id,)


def _begin(face: StreamFace, at_s: float) -> Sighting:
    person = face.person
    if person is None:
        sighting = Sighting(None, None, at_s, at_s)
    else:
        sighting = Sighting(person.person_id, person.name, at_s, at_s)
    _update(sighting, face, at_s)
    return sighting


def _update(sighting: Sighting, face: StreamFace, at_s: float) -> None:
    sighting.last_s = at_s
    cosine = face.best_cosine
    if cosine is not None and (sighting.cosine is None or cosine > sighting.cosine):
        sighting.cosine = cosine
        sighting.false_match_rate = None if face.person is None else face.person.false_match_rate
    if face.arrived == "now" or sighting.arrived is None:
        sighting.arrived = face.arrived
