"""Enrolments of many people in one transaction each way: a commit takes as long for one as for twenty."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from serving.database import Database
from serving.registry import enrolment
from serving.registry.identifiers import check_face_id, check_person_id
from serving.registry.person_details import PersonDetails
from serving.registry.records import NewFace


@dataclass(frozen=True, slots=True)
class NewPerson:
    """A person about to be enrolled, new or known, with at least one face."""

    id: str
    details: PersonDetails
    faces: tuple[NewFace, ...]

    def check(self) -> None:
        """Raise InvalidRequest when an id or a detail breaks its rule."""
        check_person_id(self.id)
        self.details.check()
        for face in self.faces:
            check_face_id(face.id)


class BulkEnrolments:
    """As `Registry.begin_enrolment` and `finish_enrolment`, for several people: all or none.

    Args:
        database: opened and closed by its owner.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self, event_key: str, people: Sequence[NewPerson], partitions: Collection[str] | None = None
    ) -> None:
        """Announce the faces; arguments and errors are those of `Registry.begin_enrolment`."""
        for each in people:
            each.check()
        stored_in = frozenset(partitions or (event_key,))
        await self._database.write(_begin, event_key, _in_order(people), stored_in)

    async def finish(
        self, event_key: str, people: Sequence[NewPerson], partitions: Collection[str] | None = None
    ) -> None:
        """Confirm that all vectors are stored.

        Raises:
            PackChanged: as `Registry.finish_enrolment`.
            ErasedMeanwhile: nothing was changed; `context["person"]` is who was erased.
        """
        stored_in = frozenset(partitions or (event_key,))
        await self._database.write(_finish, event_key, _in_order(people), stored_in)


def _begin(
    connection: Connection, event_key: str, people: Sequence[NewPerson], partitions: frozenset[str]
) -> None:
    for each in people:
        enrolment.begin_enrolment(connection, event_key, each.id, each.details, each.faces, False, partitions)


def _finish(
    connection: Connection, event_key: str, people: Sequence[NewPerson], partitions: frozenset[str]
) -> None:
    for each in people:
        face_ids = [face.id for face in each.faces]
        enrolment.finish_enrolment(connection, event_key, each.id, face_ids, each.details, partitions)


def _in_order(people: Sequence[NewPerson]) -> list[NewPerson]:
    """By id, so that no two of these can wait for each other."""
    return sorted(people, key=lambda each: each.id)
