"""Enrolments of many people in one transaction each way: a commit takes as long for one as for twenty."""

from __future__ import annotations

from collections.abc import Sequence
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

    async def begin(self, event_key: str, people: Sequence[NewPerson]) -> None:
        """Announce the faces; raises as `Registry.begin_enrolment` does."""
        for each in people:
            each.check()
        await self._database.write(_begin, event_key, _in_order(people))

    async def finish(self, event_key: str, people: Sequence[NewPerson]) -> None:
        """Confirm that all vectors are stored.

        Raises:
            ErasedMeanwhile: nothing was changed; `context["person"]` is who was erased.
        """
        await self._database.write(_finish, event_key, _in_order(people))


def _begin(connection: Connection, event_key: str, people: Sequence[NewPerson]) -> None:
    for each in people:
        enrolment.begin_enrolment(connection, event_key, each.id, each.details, each.faces, False)


def _finish(connection: Connection, event_key: str, people: Sequence[NewPerson]) -> None:
    for each in people:
        face_ids = [face.id for face in each.faces]
        enrolment.finish_enrolment(connection, event_key, each.id, face_ids, each.details)


def _in_order(people: Sequence[NewPerson]) -> list[NewPerson]:
    """By id, so that no two of these can wait for each other."""
    return sorted(people, key=lambda each: each.id)
