"""Units of work of an enrolment: begin, then vectors are stored elsewhere, then finish or abandon.

Locks are always taken in the order event, person, faces, so that no two units can wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, delete, exists, func, select, update

from serving.database.metadata import now_utc
from serving.errors import ErasedMeanwhile, InternalError, StageUnavailable, UnknownEvent
from serving.registry.erasures import is_claimed, plan_erasure
from serving.registry.events import hold_open
from serving.registry.identifiers import generate_id
from serving.registry.people import get_person
from serving.registry.records import NewFace, Person, StaleEnrolment
from serving.registry.tables import ACTIVE, IS_ACTIVE, IS_PENDING, PENDING, face, insert_into, person

_GENERATION_ATTEMPTS = 5


def begin_enrolment(
    connection: Connection, event_key: str, person_id: str | None, name: str | None, faces: Sequence[NewFace]
) -> Person:
    """Insert the faces as pending, and the person, so named, where there is none.

    Raises UnknownEvent, and StageUnavailable while an erasure of the person is carried out.
    """
    if not hold_open(connection, event_key):
        raise UnknownEvent
    if person_id is not None and is_claimed(connection, event_key, person_id):
        raise StageUnavailable("earlier faces of this person are being erased")
    now = now_utc()
    if person_id is None:
        person_id = _insert_new_person(connection, event_key, name, now)
    else:
        _upsert_person(connection, event_key, person_id, name, now)
    insert = insert_into(connection, face)
    # A pending face that is begun again is as fresh as a new one; an active one is left alone.
    insert = insert.on_conflict_do_update(
        index_elements=[face.c.event_key, face.c.person_id, face.c.id],
        set_={"created_at": insert.excluded.created_at},
        where=IS_PENDING,
    )
    rows = [
        {
            "event_key": event_key,
            "person_id": person_id,
            "id": each.id,
            "created_at": now,
            "state": PENDING,
            "detection_score": each.detection_score,
        }
        for each in sorted(faces, key=lambda each: each.id)
    ]
    connection.execute(insert, rows)
    return _read_person(connection, event_key, person_id)


def finish_enrolment(
    connection: Connection, event_key: str, person_id: str, face_ids: Sequence[str], name: str | None
) -> Person:
    """Mark the faces active and set the name unless it is None.

    Raises:
        ErasedMeanwhile: not all of them are still there. Nothing is changed.
    """
    if not hold_open(connection, event_key):
        raise ErasedMeanwhile(person=person_id)
    now = now_utc()
    enrolled = (
        update(person)
        .where(person.c.event_key == event_key, person.c.id == person_id)
        .values(updated_at=now, enrolled_at=func.coalesce(person.c.enrolled_at, now))
    )
    if name is not None:
        enrolled = enrolled.values(name=name)
    if connection.execute(enrolled).rowcount != 1:
        raise ErasedMeanwhile(person=person_id)
    wanted = sorted(set(face_ids))
    activated = (
        update(face)
        .where(face.c.event_key == event_key, face.c.person_id == person_id, face.c.id.in_(wanted))
        .values(state=ACTIVE)
    )
    if connection.execute(activated).rowcount != len(wanted):
        raise ErasedMeanwhile(person=person_id)
    return get_person(connection, event_key, person_id)


def abandon_enrolment(
    connection: Connection,
    event_key: str,
    person_id: str,
    face_ids: Sequence[str],
    begun_before: datetime | None,
) -> None:
    """Remove those of the faces that are pending, and the person if never enrolled and now without faces.

    Faces begun again at `begun_before` or later stay. When any is removed, an erasure of the person is due.
    """
    this_person = (person.c.event_key == event_key, person.c.id == person_id)
    if connection.execute(select(person.c.id).where(*this_person).with_for_update()).first() is None:
        return
    abandoned = delete(face).where(
        face.c.event_key == event_key,
        face.c.person_id == person_id,
        face.c.id.in_(sorted(set(face_ids))),
        IS_PENDING,
    )
    if begun_before is not None:
        abandoned = abandoned.where(face.c.created_at < begun_before)
    if connection.execute(abandoned).rowcount > 0:
        plan_erasure(connection, event_key, person_id, after_s=0)
    has_faces = exists().where(face.c.event_key == event_key, face.c.person_id == person_id)
    connection.execute(delete(person).where(*this_person, person.c.enrolled_at.is_(None), ~has_faces))


def stale_enrolments(connection: Connection, begun_before: datetime, limit: int) -> list[StaleEnrolment]:
    """Pending faces begun before this moment, by person; at most `limit` faces."""
    stale = (
        select(face.c.event_key, face.c.person_id, face.c.id)
        .where(IS_PENDING, face.c.created_at < begun_before)
        .order_by(face.c.created_at)
        .limit(limit)
    )
    rows = sorted(tuple(row) for row in connection.execute(stale))
    return [
        StaleEnrolment(event_key, person_id, tuple(row[2] for row in group))
        for (event_key, person_id), group in groupby(rows, key=itemgetter(0, 1))
    ]


def _new_person(event_key: str, person_id: str, name: str | None, now: datetime) -> dict[str, object]:
    return {"event_key": event_key, "id": person_id, "name": name, "created_at": now, "updated_at": now}


def _insert_new_person(connection: Connection, event_key: str, name: str | None, now: datetime) -> str:
    insert = insert_into(connection, person).on_conflict_do_nothing()
    for _ in range(_GENERATION_ATTEMPTS):
        person_id = generate_id()
        if connection.execute(insert, _new_person(event_key, person_id, name, now)).rowcount == 1:
            return person_id
    raise InternalError("No free person id was found.")


def _upsert_person(
    connection: Connection, event_key: str, person_id: str, name: str | None, now: datetime
) -> None:
    insert = insert_into(connection, person).on_conflict_do_update(
        index_elements=[person.c.event_key, person.c.id],
        # The row is set to what it was: that locks it against a deletion.
        set_={"name": person.c.name},
    )
    connection.execute(insert, _new_person(event_key, person_id, name, now))


def _read_person(connection: Connection, event_key: str, person_id: str) -> Person:
    row = connection.execute(
        select(
            person.c.event_key, person.c.id, person.c.name, person.c.created_at, person.c.updated_at
        ).where(person.c.event_key == event_key, person.c.id == person_id)
    ).one()
    active = connection.execute(
        select(face.c.id)
        .where(face.c.event_key == event_key, face.c.person_id == person_id, IS_ACTIVE)
        .order_by(face.c.id)
    ).scalars()
    key, id, name, created_at, updated_at = row
    return Person(key, id, name, created_at, updated_at, tuple(active))
