"""Arrivals at events as the rest of the service calls them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import datetime

from serving.database import Database
from serving.errors import InvalidRequest, UnknownPerson
from serving.registry import check_ins
from serving.registry.check_ins import Arrival, Attendance, Sighting
from serving.registry.identifiers import is_person_id
from serving.registry.paging import check_limit
from serving.registry.records import Page

MAX_PLACE_CHARS = 100
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Controls, lone surrogates, line and paragraph separators."""


class CheckIns:
    """Who has arrived at which event.

    Every method may raise StageUnavailable (no database) and, when it writes, Overloaded.

    Args:
        database: shared with the registry, which opens and closes it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, event_key: str, sightings: Mapping[str, Sighting]) -> dict[str, Arrival]:
        """Note that these people, by id, were seen at an event now; on disk when it returns.

        People who are not enrolled, or were erased meanwhile, are left out of the answer. Whoever is seen
        again within `check_ins.MIN_INTERVAL_S` is still there, and does not count as coming again.

        Raises:
            InvalidRequest: a place breaks its rule.
        """
        for sighting in sightings.values():
            check_place(sighting.place)
        if not sightings:
            return {}
        return await self._database.write(check_ins.record_sightings, event_key, dict(sightings))

    async def page(
        self, event_key: str, after: str | None = None, limit: int = 100, since: datetime | None = None
    ) -> Page[Arrival]:
        """A page of arrivals, the latest first.

        Args:
            after: `next` of the page before, or None for the first.
            limit: 1 to 1000.
            since: only those who arrived then or later; aware.

        Raises:
            InvalidRequest: not a cursor of this list, or the limit is out of range.
        """
        return await self._database.read(check_ins.list_arrivals, event_key, after, check_limit(limit), since)

    async def count(self, event_key: str) -> Attendance:
        """How many people are enrolled, and how many have arrived."""
        return await self._database.read(check_ins.count_arrivals, event_key)

    async def remove(self, event_key: str, person_id: str) -> bool:
        """Forget that a person has arrived; whether they had. Raises UnknownPerson."""
        if not is_person_id(person_id):
            raise UnknownPerson
        return await self._database.write(check_ins.remove_arrival, event_key, person_id)


def check_place(place: str | None) -> str | None:
    """Return the place; raise InvalidRequest unless it is None or 1 to 100 printable characters."""
    if place is None:
        return None
    printable = not any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in place)
    if not place.strip() or len(place) > MAX_PLACE_CHARS or not printable:
        raise InvalidRequest(
            f"A place has 1 to {MAX_PLACE_CHARS} printable characters, not all blank.",
            field="place",
            max_chars=MAX_PLACE_CHARS,
        )
    return place
