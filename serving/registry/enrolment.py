"""Units of work of an enrolment: begin, then vectors are stored elsewhere, then finish or abandon.

Locks are always taken in the order event, person, faces, so that no two units can wait for each other.

An event may move to another pack while an enrolment is under way. Each unit is told the partitions where the
vectors are stored, holds the event, and refuses with PackChanged unless these are all that the event needs at
this moment. So nobody is confirmed who lacks a vector where the event is searched, or is going to be:

- begun before a migration and finished during it: a vector is missing under the new pack; planned again;
- begun before and finished after the switch: the same;
- begun during a migration, with vectors of both packs, and finished after the switch or the abort: what the
  event needs is there, what it needs no more is erased with its partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, select, update

from serving.database.metadata import now_utc
from serving.errors import (
    ConsentRequired,
    ErasedMeanwhile,
    EventClosed,
    InternalError,
    PackChanged,
    StageUnavailable,
    UnknownEvent,
    UnknownPerson,
)
from serving.registry.erasures import is_claimed, plan_erasure
from serving.registry.identifiers import generate_id
from serving.registry.people import get_person, read_person
from serving.registry.person_details import PersonDetails
from serving.registry.records import NewFace, Person, StaleEnrolment
from serving.registry.tables import (
    ACTIVE,
    IS_ACTIVE,
    IS_BEING_MIGRATED,
    IS_OPEN,
    IS_PENDING,
    PENDING,
    event,
    face,
    insert_into,
    migrated_face,
    person,
)

_GENERATION_ATTEMPTS = 5


class _Held(NamedTuple):
    """What a unit needs to know of an event that it holds."""

    consent_required: bool
    closed_at: datetime | None
    partition: str
    next_partition: str | None


_HOLD = (
    select(
        event.c.consent_required,
        event.c.closed_at,
        func.coalesce(event.c.partition, event.c.key),
        event.c.next_partition,
    )
    .where(event.c.key == bindparam("key"), IS_OPEN)
    .with_for_update(read=True)
)


def begin_enrolment(
    connection: Connection,
    event_key: str,
    person_id: str | None,
    details: PersonDetails,
    faces: Sequence[NewFace],
    must_exist: bool,
    partitions: frozenset[str],
) -> Person:
    """Insert the faces as pending, and the person, with these details, where there is none.

    Raises:
        UnknownEvent, EventClosed: nobody is enrolled at this event.
        PackChanged: it needs vectors in other partitions than these.
        UnknownPerson: `must_exist`, and nobody of this id is enrolled.
        ConsentRequired: the event asks for a consent reference, and there is none.
        StageUnavailable: an erasure of the person is being carried out.
    """
    held = _hold_event(connection, event_key, partitions)
    if person_id is not None and is_claimed(connection, event_key, person_id):
        raise StageUnavailable("earlier faces of this person are being erased")
    known = None if person_id is None else _hold_person(connection, event_key, person_id)
    if must_exist and known is None:
        raise UnknownPerson(person=person_id)
    if held.consent_required and details.consent_reference is None and (known is None or known[0] is None):
        raise ConsentRequired
    now = now_utc()
    if person_id is None:
        person_id = _insert_new_person(connection, event_key, details, now)
    elif known is None:
        _upsert_person(connection, event_key, person_id, details, now)
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
    if held.next_partition is not None:
        _announce_migrated(connection, event_key, person_id, [row["id"] for row in rows], now)
    return _read_person(connection, event_key, person_id)


def finish_enrolment(
    connection: Connection,
    event_key: str,
    person_id: str,
    face_ids: Sequence[str],
    details: PersonDetails,
    partitions: frozenset[str],
) -> Person:
    """Mark the faces active and set the details that are given.

    Raises:
        PackChanged: the event needs vectors in other partitions than these by now. Nothing is changed.
        ErasedMeanwhile: not all of them are still there. Nothing is changed.
    """
    next_partition = _check_partitions(_hold_open(connection, event_key, person_id), partitions)
    now = now_utc()
    enrolled = (
        update(person)
        .where(person.c.event_key == event_key, person.c.id == person_id)
        .values(updated_at=now, enrolled_at=func.coalesce(person.c.enrolled_at, now), **details.columns)
    )
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
    if next_partition is not None:
        _confirm_migrated(connection, event_key, person_id, wanted)
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
    # Of faces that are enrolled and whose vector of the next pack is not there yet, only the latter goes.
    not_migrated = delete(migrated_face).where(
        migrated_face.c.event_key == event_key,
        migrated_face.c.person_id == person_id,
        migrated_face.c.id.in_(sorted(set(face_ids))),
        IS_BEING_MIGRATED,
    )
    if begun_before is not None:
        abandoned = abandoned.where(face.c.created_at < begun_before)
        not_migrated = not_migrated.where(migrated_face.c.created_at < begun_before)
    removed = [connection.execute(each).rowcount for each in (not_migrated, abandoned)]
    if any(removed):
        plan_erasure(connection, event_key, person_id, after_s=0)
    has_faces = exists().where(face.c.event_key == event_key, face.c.person_id == person_id)
    connection.execute(delete(person).where(*this_person, person.c.enrolled_at.is_(None), ~has_faces))


def stale_enrolments(connection: Connection, begun_before: datetime, limit: int) -> list[StaleEnrolment]:
    """Pending faces begun before this moment, by person; at most `limit` faces."""
    rows: set[tuple[str, str, str]] = set()
    for table, is_pending in ((face, IS_PENDING), (migrated_face, IS_BEING_MIGRATED)):
        stale = (
            select(table.c.event_key, table.c.person_id, table.c.id)
            .where(is_pending, table.c.created_at < begun_before)
            .order_by(table.c.created_at)
            .limit(limit - len(rows))
        )
        rows.update((row[0], row[1], row[2]) for row in connection.execute(stale))
    return [
        StaleEnrolment(event_key, person_id, tuple(row[2] for row in group))
        for (event_key, person_id), group in groupby(sorted(rows), key=itemgetter(0, 1))
    ]


def _hold_event(connection: Connection, event_key: str, partitions: frozenset[str]) -> _Held:
    """The event, which stays open and of its packs until this transaction ends."""
    row = connection.execute(_HOLD, {"key": event_key}).first()
    if row is None:
        raise UnknownEvent
    held = _Held(*row)
    if held.closed_at is not None:
        raise EventClosed
    _check_partitions(held, partitions)
    return held


def _hold_open(connection: Connection, event_key: str, person_id: str) -> _Held:
    """As `_hold_event`, also when it is closed; raises ErasedMeanwhile when it is not there."""
    row = connection.execute(_HOLD, {"key": event_key}).first()
    if row is None:
        raise ErasedMeanwhile(person=person_id)
    return _Held(*row)


def _check_partitions(held: _Held, partitions: frozenset[str]) -> str | None:
    """The partition of the pack that the event moves to, if any; raises PackChanged."""
    if not {held.partition, held.next_partition} - {None} <= partitions:
        raise PackChanged
    return held.next_partition


def _announce_migrated(
    connection: Connection, event_key: str, person_id: str, face_ids: Sequence[Any], now: datetime
) -> None:
    insert = insert_into(connection, migrated_face)
    insert = insert.on_conflict_do_update(
        index_elements=[migrated_face.c.event_key, migrated_face.c.person_id, migrated_face.c.id],
        set_={"created_at": insert.excluded.created_at},
        where=IS_BEING_MIGRATED,
    )
    of_person = {"event_key": event_key, "person_id": person_id, "created_at": now, "state": PENDING}
    connection.execute(insert, [{**of_person, "id": each} for each in face_ids])


def _confirm_migrated(
    connection: Connection, event_key: str, person_id: str, face_ids: Sequence[str]
) -> None:
    confirmed = (
        update(migrated_face)
        .where(
            migrated_face.c.event_key == event_key,
            migrated_face.c.person_id == person_id,
            migrated_face.c.id.in_(face_ids),
        )
        .values(state=ACTIVE)
    )
    if connection.execute(confirmed).rowcount != len(face_ids):
        raise ErasedMeanwhile(person=person_id)


def _hold_person(connection: Connection, event_key: str, person_id: str) -> tuple[str | None] | None:
    """The consent reference of an enrolled person, who stays until this transaction ends; None: nobody."""
    held = connection.execute(
        select(person.c.consent_reference)
        .where(person.c.event_key == event_key, person.c.id == person_id, person.c.enrolled_at.is_not(None))
        .with_for_update()
    ).first()
    return None if held is None else (held[0],)


def _new_person(event_key: str, person_id: str, details: PersonDetails, now: datetime) -> dict[str, object]:
    return {"event_key": event_key, "id": person_id, "created_at": now, "updated_at": now, **details.columns}


def _insert_new_person(connection: Connection, event_key: str, details: PersonDetails, now: datetime) -> str:
    insert = insert_into(connection, person).on_conflict_do_nothing()
    for _ in range(_GENERATION_ATTEMPTS):
        person_id = generate_id()
        new = _new_person(event_key, person_id, details, now)
        if connection.execute(insert.values(new)).rowcount == 1:
            return person_id
    raise InternalError("No free person id was found.")


def _upsert_person(
    connection: Connection, event_key: str, person_id: str, details: PersonDetails, now: datetime
) -> None:
    insert = insert_into(connection, person).on_conflict_do_update(
        index_elements=[person.c.event_key, person.c.id],
        # The row is set to what it was: that locks it against a deletion.
        set_={"name": person.c.name},
    )
    connection.execute(insert.values(_new_person(event_key, person_id, details, now)))


def _read_person(connection: Connection, event_key: str, person_id: str) -> Person:
    active = and_(face.c.event_key == person.c.event_key, face.c.person_id == person.c.id, IS_ACTIVE)
    rows = connection.execute(
        select(
            person.c.event_key,
            person.c.id,
            person.c.name,
            person.c.created_at,
            person.c.updated_at,
            person.c.metadata,
            person.c.consent_reference,
            face.c.id,
        )
        .select_from(person.outerjoin(face, active))
        .where(person.c.event_key == event_key, person.c.id == person_id)
        .order_by(face.c.id)
    ).all()
    return read_person(rows)
