"""Units of work on enrolled people."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, select

from serving.errors import UnknownPerson
from serving.registry import erasures
from serving.registry.paging import write_cursor
from serving.registry.records import Page, Person, PersonSummary
from serving.registry.tables import IS_ACTIVE, IS_OPEN, event, face, person

CURSOR_KIND = "person"
_NAMES_PER_STATEMENT = 1000

_IN_EVENT = person.c.event_key == bindparam("key")
_ENROLLED = person.c.enrolled_at.is_not(None)
_ACTIVE_FACE = and_(face.c.event_key == person.c.event_key, face.c.person_id == person.c.id, IS_ACTIVE)

_LIST = (
    select(
        person.c.id,
        person.c.name,
        person.c.created_at,
        person.c.updated_at,
        select(func.count()).where(_ACTIVE_FACE).correlate(person).scalar_subquery(),
    )
    .where(_IN_EVENT, person.c.id > bindparam("after"), _ENROLLED)
    .order_by(person.c.id)
    .limit(bindparam("limit"))
)
_GET = (
    select(
        person.c.event_key, person.c.id, person.c.name, person.c.created_at, person.c.updated_at, face.c.id
    )
    .select_from(person.outerjoin(face, _ACTIVE_FACE))
    .where(_IN_EVENT, person.c.id == bindparam("id"), _ENROLLED)
    .order_by(face.c.id)
)
_NAMES = select(person.c.id, person.c.name).where(
    _IN_EVENT,
    person.c.id.in_(bindparam("ids", expanding=True)),
    _ENROLLED,
    exists().where(event.c.key == bindparam("key"), IS_OPEN),
)


def list_people(connection: Connection, event_key: str, after_id: str, limit: int) -> Page[PersonSummary]:
    """One page of enrolled people by id."""
    rows = connection.execute(_LIST, {"key": event_key, "after": after_id, "limit": limit + 1}).all()
    found = tuple(PersonSummary(*row) for row in rows[:limit])
    return Page(found, write_cursor(CURSOR_KIND, found[-1].id) if len(rows) > limit else None)


def get_person(connection: Connection, event_key: str, person_id: str) -> Person:
    """The enrolled person with all active faces; raises UnknownPerson."""
    rows = connection.execute(_GET, {"key": event_key, "id": person_id}).all()
    if not rows:
        raise UnknownPerson(person=person_id)
    key, id, name, created_at, updated_at, _ = rows[0]
    face_ids = tuple(row[5] for row in rows if row[5] is not None)
    return Person(key, id, name, created_at, updated_at, face_ids)


def names_of(connection: Connection, event_key: str, person_ids: Sequence[str]) -> dict[str, str | None]:
    """The names of those of these people who are enrolled; of none when the event is not open."""
    names: dict[str, str | None] = {}
    for start in range(0, len(person_ids), _NAMES_PER_STATEMENT):
        ids = person_ids[start : start + _NAMES_PER_STATEMENT]
        names.update((row[0], row[1]) for row in connection.execute(_NAMES, {"key": event_key, "ids": ids}))
    return names


def delete_person(connection: Connection, event_key: str, person_id: str) -> bool:
    """Remove a person, enrolled or only begun, with all faces; whether there was one.

    If so, an erasure is planned of what is stored late.
    """
    doomed = delete(person).where(person.c.event_key == event_key, person.c.id == person_id)
    if connection.execute(doomed).rowcount == 0:
        return False
    erasures.plan_erasure(connection, event_key, person_id, erasures.REVISIT_S)
    return True
